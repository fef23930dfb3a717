//go:build linux

package torture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Disk is a small disk in memory.
type Disk struct {
	// Dir is where it is mounted.
	Dir string
}

// NewDisk mounts a tmpfs of size bytes, which goes when the test ends. It
// needs root, and fails the test without.
func NewDisk(t testing.TB, size int64) *Disk {
	t.Helper()
	d := &Disk{Dir: filepath.Join(t.TempDir(), "disk")}
	if err := os.Mkdir(d.Dir, 0o700); err != nil {
		t.Fatalf("torture: %v", err)
	}
	if err := syscall.Mount("tmpfs", d.Dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Fatalf("torture: mount a tmpfs of %d bytes (as root?): %v", size, err)
	}
	t.Cleanup(func() { // lazily: a process that still ends may have files open
		if err := syscall.Unmount(d.Dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("torture: unmount %s: %v", d.Dir, err)
		}
	})
	return d
}

// ballast is the file that fills a disk.
const ballast = ".torture-ballast"

// DiskFull fills the disk to the last byte for up to eight seconds, and frees
// it. What others free meanwhile is filled again. While it is full, and until
// they are ready again, the processes may end by themselves: they are started
// again.
func DiskFull(d *Disk, users ...*Process) Fault {
	return Fault{
		Name: "fill the disk", Targets: []string{"disk " + d.Dir}, Min: time.Second, Max: 8 * time.Second,
		Inject: func(_ context.Context, s *Scene) (Heal, error) {
			var accuse []func()
			for _, p := range users {
				accuse = append(accuse, p.Excuse())
			}
			filler, err := d.fill()
			return func(ctx context.Context) error {
				errs := []error{filler.free(s)}
				for i, p := range users {
					errs = append(errs, p.AwaitReady(ctx))
					accuse[i]()
				}
				return errors.Join(errs...)
			}, err
		},
	}
}

// filler keeps a disk full.
type filler struct {
	file    *os.File
	cancel  context.CancelFunc
	done    chan struct{}
	written int64
}

// fill fills the disk and keeps it full until free.
func (d *Disk) fill() (*filler, error) {
	f := &filler{done: make(chan struct{}), cancel: func() {}}
	var err error
	if f.file, err = os.Create(filepath.Join(d.Dir, ballast)); err != nil {
		close(f.done)
		return f, fmt.Errorf("fill %s: %w", d.Dir, err)
	}
	f.pour()
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	go func() { // waited for by free
		defer close(f.done)
		for pause(ctx, poll) == nil {
			f.pour()
		}
	}()
	return f, nil
}

// pour writes until nothing more fits.
func (f *filler) pour() {
	block := make([]byte, 1<<20)
	for len(block) > 0 {
		n, err := f.file.Write(block)
		f.written += int64(n)
		if err != nil {
			block = block[:len(block)/2] // down to the last byte
		}
	}
}

// free gives the space back.
func (f *filler) free(s *Scene) error {
	f.cancel()
	<-f.done
	if f.file == nil {
		return nil
	}
	s.Note("%d MiB filled", f.written>>20)
	return errors.Join(f.file.Close(), os.Remove(f.file.Name()))
}
