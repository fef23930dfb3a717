package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/argosy-go/argosy/store"
)

// Opener opens databases as files of the data directory. Its zero value is
// ready to use.
type Opener struct {
	// Readers is how many reads run at the same time. Zero: as many as the
	// process has processors, and at least two.
	Readers int
}

var _ store.Opener = Opener{}

// Path returns the file of a service's database in the data directory.
func Path(dir, service string) string { return filepath.Join(dir, "store", service+".db") }

const defaultIdleLimit = 250 * time.Millisecond

// Open opens the database of a service and holds it: until Close, another Open
// of the same file fails, in this process and in others.
func (o Opener) Open(ctx context.Context, opts store.OpenOptions) (store.Engine, error) {
	if opts.Service == "" || opts.Dir == "" {
		return nil, errors.New("sqlite: the name of the service and the data directory are needed")
	}
	if _, rest, _ := strings.Cut(opts.URL, ":"); rest != "" {
		return nil, fmt.Errorf("sqlite: %q: the URL is \"sqlite:\" alone; the files lie in the data directory", opts.URL)
	}
	if opts.IdleLimit <= 0 {
		opts.IdleLimit = defaultIdleLimit
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if o.Readers <= 0 {
		o.Readers = max(2, runtime.GOMAXPROCS(0))
	}
	path := Path(opts.Dir, opts.Service)
	if err := makeDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	lock, err := hold(path, opts.Service)
	if err != nil {
		return nil, err
	}
	r, err := openRaw(ctx, path, "rwc", writerSettings())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), lock.release())
	}
	db := newFacades(o.Readers)
	return &engine{
		path: path, lock: lock, db: db,
		writer:  newWriter(r, db, opts.IdleLimit, opts.Log),
		readers: newReaders(path, db, o.Readers),
	}, nil
}

// newFacades returns the pool through which statements pass.
func newFacades(readers int) *sql.DB {
	db := sql.OpenDB(facades{})
	db.SetMaxIdleConns(readers + 2)
	return db
}

// engine is an open database: one writing connection, a few that read.
type engine struct {
	path    string
	lock    *lock
	db      *sql.DB
	writer  *writer
	readers *readers
	closing sync.Once
	closed  error
}

func (e *engine) Dialect() store.Dialect { return store.SQLite }

func (e *engine) Write(ctx context.Context, fn func(store.Conn) error) error {
	return e.writer.write(&job{ctx: ctx, fn: fn})
}

func (e *engine) Read(ctx context.Context, fn func(store.Querier) error) error {
	return e.readers.read(ctx, fn)
}

// Migrate applies a set while it has the writing connection for itself.
func (e *engine) Migrate(ctx context.Context, set string, files fs.FS) error {
	return e.writer.write(&job{ctx: ctx, whole: func(r *raw) error { return migrate(ctx, r, set, files) }})
}

// Close waits for what runs and closes the database. Closing again does nothing.
func (e *engine) Close() error {
	e.closing.Do(func() {
		e.writer.close()
		e.closed = errors.Join(e.readers.close(), e.writer.raw.close(), e.db.Close(), e.lock.release())
		if e.closed != nil {
			e.closed = fmt.Errorf("close %s: %w", e.path, e.closed)
		}
	})
	return e.closed
}

// makeDir makes a directory and puts its name on the disk, and the names of
// those above it that it made: a file is found again only if its directory is.
func makeDir(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := makeDir(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	p, err := os.Open(parent)
	if err != nil {
		return err
	}
	return errors.Join(p.Sync(), p.Close())
}
