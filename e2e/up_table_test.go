package e2e

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// board is argosy up on a terminal.
type board struct {
	t     *testing.T
	out   *output
	dir   string
	ended chan error
}

// onTerminal runs some services of the shop on a wide terminal.
func onTerminal(t *testing.T, only string) (*board, *os.File) {
	t.Helper()
	b := &board{t: t, out: &output{}, dir: t.TempDir(), ended: make(chan error, 1)}
	cmd := exec.Command(buildArgosy(t), "up", build(t, ""), "--data", b.dir, "--http", "127.0.0.1:0", "--only", only)
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 40, Cols: 140})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = io.Copy(b.out, terminal) // ends with an error once the other side has closed
		b.ended <- cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // where the test has not ended it: the kernel then asks the others to end
		_ = terminal.Close()
	})
	return b, terminal
}

// row returns the cells of a process in the table that is shown now, by their
// titles.
func (b *board) row(name string) map[string]string {
	frames := regexp.MustCompile(`\x1b\[\d+A\r\x1b\[J`).Split(b.out.String(), -1)
	last := regexp.MustCompile(`\x1b\[[0-9;]*m`).ReplaceAllString(frames[len(frames)-1], "")
	var titles []string
	for line := range strings.Lines(last) {
		switch cells := regexp.MustCompile(`\s{2,}`).Split(strings.TrimSpace(line), -1); {
		case cells[0] == "NAME":
			titles = cells
		case cells[0] == name && len(cells) == len(titles):
			row := map[string]string{}
			for i, c := range cells {
				row[titles[i]] = c
			}
			return row
		}
	}
	return nil
}

// await waits until the row of a process is so, and returns it.
func (b *board) await(name, what string, is func(row map[string]string) bool) map[string]string {
	b.t.Helper()
	for deadline, tick := time.After(40*time.Second), time.Tick(10*time.Millisecond); ; {
		select {
		case err := <-b.ended:
			b.t.Fatalf("it ended: %v\n%s", err, b.out)
		case <-deadline:
			b.t.Fatalf("%s never %s\n%s", name, what, b.out)
		case <-tick:
			if row := b.row(name); row != nil && is(row) {
				return row
			}
		}
	}
}

// known returns what up.json says of a process.
func (b *board) known(name string) member {
	b.t.Helper()
	text, err := os.ReadFile(filepath.Join(b.dir, "up.json"))
	if err != nil {
		b.t.Fatal(err)
	}
	var s struct{ Processes []member }
	if err := json.Unmarshal(text, &s); err != nil {
		b.t.Fatal(err)
	}
	for _, m := range s.Processes {
		if m.Name == name {
			return m
		}
	}
	b.t.Fatalf("there is no %s in %s", name, text)
	return member{}
}

func TestTheTableIsRightAfterKillsAndInACrashLoop(t *testing.T) {
	b, terminal := onTerminal(t, "identity,catalog,web")
	ready := func(row map[string]string) bool { return row["STATE"] == "ready" }
	b.await("web-1", "was ready", ready)
	first := b.await("catalog-1", "was ready", ready)
	if first["RESTARTS"] != "0" || !strings.HasSuffix(first["CPU"], "%") || !strings.HasSuffix(first["MEMORY"], " MB") || first["MEMORY"] == "0 MB" || first["FOR"] == "" {
		t.Errorf("the row of a process that runs is %v", first)
	}
	kill := func() {
		t.Helper()
		if err := syscall.Kill(b.known("catalog-1").PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	kill()
	again := b.await("catalog-1", "was ready again", func(row map[string]string) bool {
		return ready(row) && row["RESTARTS"] == "1" && row["PID"] != first["PID"]
	})
	if again["ADDRESS"] != first["ADDRESS"] || again["ADMIN"] != first["ADMIN"] {
		t.Errorf("it has other addresses than before: %v and %v", again, first)
	}
	for _, restarts := range []string{"2", "3", "4"} { // the pauses grow until one sees it wait
		kill()
		if restarts == "4" {
			down := b.await("catalog-1", "waited", func(row map[string]string) bool { return row["STATE"] == "waiting" })
			if down["PID"] != "-" || down["CPU"] != "-" || down["MEMORY"] != "-" {
				t.Errorf("a process that has died has the row %v", down)
			}
		}
		b.await("catalog-1", "came back for restart "+restarts, func(row map[string]string) bool { return ready(row) && row["RESTARTS"] == restarts })
	}
	if other := b.row("identity-1"); other["RESTARTS"] != "0" || other["STATE"] != "ready" {
		t.Errorf("another process has the row %v", other)
	}
	if _, err := terminal.WriteString("\x03"); err != nil {
		t.Fatal(err)
	}
	if err := <-b.ended; err != nil {
		t.Errorf("after Ctrl-C: %v\n%s", err, b.out)
	}
}
