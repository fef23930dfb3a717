//go:build linux

package torture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// walWriteLock is the byte of a -shm file that the one writer of a SQLite
// database in WAL mode locks (sqlite.org/walformat.html, "WAL Locks").
const walWriteLock = 120

// HoldSQLite holds the write lock of a SQLite database in WAL mode for up to
// four seconds, as a second program does that writes to it: nobody else can
// write. The run's own process must not have the database open.
func HoldSQLite(path string) Fault {
	return Fault{
		Name: "hold the lock of " + filepath.Base(path), Targets: []string{"database " + path}, Min: time.Second, Max: 4 * time.Second,
		Inject: func(ctx context.Context, s *Scene) (Heal, error) {
			file, err := os.OpenFile(path+"-shm", os.O_RDWR, 0)
			if errors.Is(err, os.ErrNotExist) {
				s.Note("nobody had it open")
				return nil, nil
			}
			if err != nil {
				return nil, err
			}
			lock := syscall.Flock_t{Type: syscall.F_WRLCK, Start: walWriteLock, Len: 1}
			begun := time.Now()
			if err := until(ctx, func(context.Context) error { return syscall.FcntlFlock(file.Fd(), syscall.F_SETLK, &lock) }); err != nil {
				return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), file.Close())
			}
			s.Note("held after %s", short(time.Since(begun)))
			return func(context.Context) error { return file.Close() }, nil // which ends the lock
		},
	}
}
