package sqlite

import (
	"fmt"

	"github.com/gofrs/flock"
)

// lock keeps a second process off a database. The operating system lets go of
// it when the process ends, however it ends.
type lock struct{ file *flock.Flock }

// hold locks the file beside the database, or fails at once.
func hold(path, service string) (*lock, error) {
	f := flock.New(path + ".lock")
	ok, err := f.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", f.Path(), err)
	}
	if !ok {
		return nil, fmt.Errorf("service %s is running already on %s: SQLite refuses more than one replica of a service; stop the other one, use another data directory, or move %s to Postgres", service, path, service)
	}
	return &lock{f}, nil
}

func (l *lock) release() error { return l.file.Unlock() }
