package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestAFullDiskThatIsFreedIsWrittenAgain fills a small disk, which JetStream
// does not recover from by itself, and frees it again. It needs root.
func TestAFullDiskThatIsFreedIsWrittenAgain(t *testing.T) {
	dir := smallDisk(t, 16<<20)
	if dir == "" {
		return
	}
	b := openHasty(t, dir)
	p := publish(t, b)
	for range 3 {
		at := p.acked.Load()
		await(t, "messages are acknowledged", func() bool { return p.acked.Load() > at+20 })
		restarts := b.Restarts()
		free := fill(t, dir)
		await(t, "publications fail", p.failing.Load)
		await(t, "readiness says so", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			return b.Probe(ctx) != nil
		})
		free()
		await(t, "the server is started again", func() bool { return b.Restarts() > restarts })
		await(t, "readiness says so", func() bool { return b.Probe(t.Context()) == nil })
	}
	at := p.acked.Load()
	await(t, "messages are acknowledged", func() bool { return p.acked.Load() > at+20 })
	n := p.stop()
	readAll(t, b, n)
	t.Logf("%d messages were acknowledged over %d restarts, and are there", n, b.Restarts())
}

// smallDisk mounts a tmpfs that goes when the test ends; "" where it may not.
func smallDisk(t *testing.T, size int64) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprint("size=", size)); err != nil {
		if slices.Contains(strings.Split(os.Getenv("ARGOSY_TEST_REQUIRE"), ","), "powercut") {
			t.Fatalf("a small disk is required (powercut in ARGOSY_TEST_REQUIRE), but: mount a tmpfs: %v", err)
		}
		t.Logf("LEFT OUT: no small disk here: mount a tmpfs: %v", err)
		return ""
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill fills the disk to the last byte and returns what frees it.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err := f.Write(block); err != nil {
			block = block[:len(block)/2]
		}
	}
	return func() {
		if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
			t.Fatal(err)
		}
	}
}
