//go:build linux

package powercut_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/argosy-go/argosy/argosytest/powercut"
)

// childDir, in the environment, makes the test binary a program that uses the
// disk there, as childDoes says.
const (
	childDir  = "ARGOSY_TEST_POWERCUT_DIR"
	childDoes = "ARGOSY_TEST_POWERCUT_DOES"
)

// child writes numbers from 1 and prints each that it believes durable.
func child(dir, does string) error {
	if does == "map" {
		return mapFile(dir + "/mapped")
	}
	f, err := os.OpenFile(dir+"/numbers", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return err
	}
	for n := 1; ; n++ {
		if _, err := fmt.Fprintf(f, "%d\n", n); err != nil {
			return err
		}
		if does == "sync" {
			if err := f.Sync(); err != nil {
				return err
			}
		}
		fmt.Println(n)
	}
}

// mapFile writes through a shared mapping, and syncs it.
func mapFile(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := f.Truncate(8192); err != nil {
		return err
	}
	m, err := syscall.Mmap(int(f.Fd()), 0, 8192, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return err
	}
	copy(m, "synced")
	if err := f.Sync(); err != nil {
		return err
	}
	copy(m, "later!")
	fmt.Println("1")
	select {}
}

// run runs the program, cuts the power after it has printed so many lines, and
// returns how many it had printed when it was dead.
func run(t *testing.T, d disk, does string, lines int) int {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+d.Dir(), childDoes+"="+does)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	d.must(err)
	d.must(cmd.Start())
	printed := 0
	var cut sync.Once
	for s := bufio.NewScanner(out); s.Scan(); {
		if printed++; printed >= lines {
			cut.Do(func() { d.Cut(func() { _ = cmd.Process.Kill() }) })
		}
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != -1 {
		t.Fatalf("the program was not killed: %v %s", err, &errs)
	}
	d.must(d.Restore())
	return printed
}

func TestAProgramThatSyncsKeepsWhatItSaidAndOneThatDoesNotLosesIt(t *testing.T) {
	lost := false
	for seed := range uint64(5) {
		for _, does := range []string{"sync", "write"} {
			d := open(t, powercut.Config{Seed: seed})
			said := run(t, d, does, 300)
			var whole strings.Builder
			for n := range said {
				fmt.Fprintf(&whole, "%d\n", n+1)
			}
			kept := strings.HasPrefix(d.read("numbers"), whole.String())
			if does == "sync" && !kept {
				t.Errorf("seed %d: %d numbers were synced, and the file holds %s", seed, said, short(d.read("numbers")))
			}
			lost = lost || does == "write" && !kept
		}
	}
	if !lost {
		t.Error("a program that never syncs loses nothing")
	}
}

func TestAMappingIsDurableByItsSync(t *testing.T) {
	d := open(t, powercut.Config{Clean: true, Names: powercut.Ordered})
	run(t, d, "map", 1)
	if got := strings.TrimRight(d.read("mapped"), "\x00"); got != "synced" {
		t.Errorf("the file holds %q", got)
	}
}

func TestWhoIsLeftAfterTheCutGetsAnError(t *testing.T) {
	d := open(t, powercut.Config{})
	f, err := os.Create(d.path("a"))
	d.must(err)
	defer f.Close()
	d.Cut(nil)
	if _, err := f.WriteString("late"); !errors.Is(err, syscall.EIO) {
		t.Errorf("a write after the cut: %v", err)
	}
	d.must(d.Restore())
	if _, err := f.WriteString("late"); !errors.Is(err, syscall.ENOTCONN) && !errors.Is(err, syscall.ECONNABORTED) {
		t.Errorf("a write to a file from before the cut: %v", err)
	}
	if err := d.Restore(); err == nil {
		t.Error("a second Restore works")
	}
}

func TestARigIsMadeOnAnEmptyDirectoryAndClosesTwice(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/a", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if rig, err := powercut.New(dir, powercut.Config{}); err == nil {
		t.Error("a directory that is not empty is hidden", rig.Close())
	}
	d := open(t, powercut.Config{})
	d.must(d.Close())
	d.must(d.Close())
	if list, err := os.ReadDir(d.Dir()); err != nil || len(list) > 0 {
		t.Errorf("the directory after Close: %v %v", list, err)
	}
}
