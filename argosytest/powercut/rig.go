//go:build linux

package powercut

import (
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// ErrUnavailable: this machine, or this user, cannot have a rig.
var ErrUnavailable = errors.New("powercut: no rig here")

// Available returns nil where [New] works, and else what is missing.
func Available() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: mounting needs root", ErrUnavailable)
	}
	fd, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return fd.Close()
}

// Rig is a mounted disk. Its methods are called by one goroutine; the files are
// used by whom you like.
type Rig struct {
	dir    string
	disk   *disk
	server *fuse.Server
	down   bool
}

// New mounts an empty disk on the directory, which is made if need be and must
// be empty. Close unmounts it; a test that is killed leaves the mount behind,
// dead, for an "umount".
func New(dir string, c Config) (*Rig, error) {
	if err := Available(); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("powercut: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("powercut: %w", err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
		return nil, errors.Join(fmt.Errorf("powercut: %s is not an empty directory", dir), err)
	}
	r := &Rig{dir: dir, disk: newDisk(c)}
	return r, r.mount()
}

// Dir is where the disk is mounted, now and after each [Rig.Restore].
func (r *Rig) Dir() string { return r.dir }

// Cut turns the power off, at once: what is not durable now never will be, and
// who uses the disk stands still. Then it calls kill, which sends SIGKILL to all
// processes that use the disk and does not wait for them: a process ends only
// after Cut lets go of it. Nil: nobody to kill; who is left gets EIO.
// A second Cut without a Restore between them does nothing.
func (r *Rig) Cut(kill func()) Loss {
	if r.down {
		return Loss{}
	}
	r.down = true
	loss := r.disk.cut()
	if kill != nil {
		kill()
	}
	close(r.disk.dead)
	return loss
}

// Restore turns the power on: it mounts what was durable at the cut. Files that
// were open before answer ENOTCONN.
func (r *Rig) Restore() error {
	if !r.down {
		return errors.New("powercut: the power is on")
	}
	if err := r.unmount(); err != nil {
		return err
	}
	r.disk.restart()
	r.down = false
	return r.mount()
}

// Close unmounts the disk, whoever uses it, and forgets it. It is safe to call
// more than once, and at any time.
func (r *Rig) Close() error {
	r.Cut(nil)
	return r.unmount()
}

// mount mounts the disk and serves it. The descriptor is the rig's own and not
// the library's, which would leak it into every program that the test starts:
// the mount would then outlive the test.
func (r *Rig) mount() error {
	fd, err := syscall.Open("/dev/fuse", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("powercut: open /dev/fuse: %w", err)
	}
	const maxWrite = 1 << 20
	data := fmt.Sprintf("fd=%d,rootmode=%o,user_id=0,group_id=0,allow_other,default_permissions,max_read=%d", fd, syscall.S_IFDIR, maxWrite)
	if err := syscall.Mount("powercut", r.dir, "fuse.powercut", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOATIME, data); err != nil {
		return errors.Join(fmt.Errorf("powercut: mount %s: %w", r.dir, err), syscall.Close(fd))
	}
	keep := forever
	files := fs.NewNodeFS(&node{disk: r.disk, inode: r.disk.root}, &fs.Options{
		EntryTimeout: &keep, AttrTimeout: &keep, NegativeTimeout: &keep,
		RootStableAttr: &fs.StableAttr{Ino: r.disk.root.number},
	})
	r.server, err = fuse.NewServer(files, fmt.Sprintf("/dev/fd/%d", fd), &fuse.MountOptions{
		MaxWrite: maxWrite, DisableXAttrs: true, Name: "powercut", Logger: log.New(io.Discard, "", 0),
	})
	if err != nil {
		return errors.Join(fmt.Errorf("powercut: serve %s: %w", r.dir, err), syscall.Unmount(r.dir, syscall.MNT_FORCE|syscall.MNT_DETACH))
	}
	go r.server.Serve() // unmount waits for it
	return r.refusePoll()
}

// refusePoll asks the mount for the poll of a file once, by a name that the
// library answers to, so that the kernel learns that there is none and does not
// ask again. Go's runtime polls files that it opens; one that is served by the
// same process would wait for itself.
func (r *Rig) refusePoll() error {
	fd, err := unix.Open(filepath.Join(r.dir, ".go-fuse-epoll-hack"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return errors.Join(fmt.Errorf("powercut: use %s: %w", r.dir, err), r.unmount())
	}
	_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0) // whatever it answers
	return unix.Close(fd)
}

// unmount takes the mount away from whoever uses it, and waits for the server.
func (r *Rig) unmount() error {
	if r.server == nil {
		return nil
	}
	if err := syscall.Unmount(r.dir, syscall.MNT_FORCE|syscall.MNT_DETACH); err != nil {
		return fmt.Errorf("powercut: unmount %s: %w", r.dir, err)
	}
	r.server.Wait()
	r.server = nil
	return nil
}
