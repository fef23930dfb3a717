package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/argosy-go/argosy/store"
)

// readers are read-only connections, opened when they are first needed. Each
// read has one for itself, with a snapshot that no writer waits for.
type readers struct {
	path string
	db   *sql.DB   // of facades
	free chan *raw // as many as there may be; nil: not opened yet

	mu      sync.Mutex
	closing bool
	running sync.WaitGroup
}

func newReaders(path string, db *sql.DB, n int) *readers {
	r := &readers{path: path, db: db, free: make(chan *raw, n)}
	for range n {
		r.free <- nil
	}
	return r
}

// enter counts a read in, unless the store is closing.
func (r *readers) enter() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing {
		return store.ErrClosed
	}
	r.running.Add(1)
	return nil
}

func (r *readers) read(ctx context.Context, fn func(store.Querier) error) (err error) {
	if err := r.enter(); err != nil {
		return err
	}
	defer r.running.Done()
	var conn *raw
	select {
	case conn = <-r.free:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { r.free <- conn }()
	if conn == nil {
		if conn, err = openRaw(ctx, r.path, "ro", readerSettings()); err != nil {
			return fmt.Errorf("open %s to read: %w", r.path, err)
		}
	}
	if err := conn.do("BEGIN"); err != nil {
		return err
	}
	s, err := newSession(r.db, conn, true)
	if err != nil {
		return errors.Join(err, conn.do("ROLLBACK"))
	}
	defer func() { // also when fn panicked
		poison, _ := s.end()
		s.release()
		_ = conn.do("ROLLBACK") // nothing was written, and SQLite may have rolled back itself
		if err == nil {
			err = poison
		}
	}()
	return fn(s)
}

// close waits for the reads and closes the connections.
func (r *readers) close() error {
	r.mu.Lock()
	r.closing = true
	r.mu.Unlock()
	r.running.Wait()
	var errs []error
	for range cap(r.free) {
		if conn := <-r.free; conn != nil {
			errs = append(errs, conn.close())
		}
	}
	return errors.Join(errs...)
}

// Reader reads a database that another process may have open: for audits,
// tools and tests. It takes no part in the service and holds no lock that the
// service would meet. Safe for concurrent use.
type Reader struct {
	db      *sql.DB
	readers *readers
	once    sync.Once
	err     error
}

// OpenReader opens the file of a database, see [Path], to read. It fails when
// the file does not exist.
func OpenReader(ctx context.Context, path string) (*Reader, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("open a store to read: %w", err)
	}
	db := newFacades(1)
	r := &Reader{db: db, readers: newReaders(path, db, 1)}
	if err := r.Read(ctx, func(context.Context, store.Querier) error { return nil }); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Read runs fn on a snapshot of what had been committed when Read was called.
func (r *Reader) Read(ctx context.Context, fn func(ctx context.Context, q store.Querier) error) error {
	return r.readers.read(ctx, func(q store.Querier) error { return fn(ctx, q) })
}

// Close waits for the reads and closes the file. Closing again does nothing.
func (r *Reader) Close() error {
	r.once.Do(func() { r.err = errors.Join(r.readers.close(), r.db.Close()) })
	return r.err
}
