package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
)

// The errors of a store. They are [fault.Error]s: compare with errors.Is.
var (
	// ErrUnknown: the commit may or may not have happened. Only a read can
	// tell, or the same request again under the same idempotency key.
	ErrUnknown = fault.New(codes.Unavailable, "COMMIT_UNKNOWN", "the outcome of the commit is unknown")
	// ErrNested: Do was called inside a transaction. Use the Tx that you were
	// given, or Tx.Try for a part that may fail alone.
	ErrNested = fault.New(codes.Internal, "NESTED_TRANSACTION", "a transaction was begun inside a transaction: use the Tx that the function was given, or its Try method")
	// ErrNotOpen: the handle was used before the service started or after it stopped.
	ErrNotOpen = fault.New(codes.Unavailable, "STORE_NOT_OPEN", "the store is not open: a handle may be used from the start of its service until its stop, and not in setup").Refused()
	// ErrRevoked: the function went without a statement for too long while
	// others waited for the store. Nothing was written.
	ErrRevoked = fault.New(codes.Aborted, "TRANSACTION_REVOKED", "the transaction was idle for too long and was revoked: do slow work before or after it").Refused()
	// ErrClosed: the store has been closed. Nothing was written.
	ErrClosed = fault.New(codes.Unavailable, "STORE_CLOSED", "the store is closed").Refused()
	// ErrStopped: an earlier write failed in a way that leaves the disk in
	// doubt, so the store takes no further writes until it is opened again.
	// Reads go on. Nothing was written.
	ErrStopped = fault.New(codes.Unavailable, "STORE_STOPPED", "the store takes no writes after a failure of its disk: restart the service").Refused()
	// ErrFull: there is no space for the write. Nothing was written; it can be
	// tried again once there is space.
	ErrFull = fault.New(codes.Unavailable, "STORE_FULL", "the store has no space left").Refused()
	// ErrRowsOpen: a statement was run, or the function ended, before the rows
	// of a query were closed. Read them to the end or close them first.
	ErrRowsOpen = fault.New(codes.Internal, "ROWS_OPEN", "the rows of a query are still open: close them before the next statement and before the end of the transaction")
	// ErrForbidden: the statement is one that a transaction may not run.
	ErrForbidden = fault.New(codes.Internal, "STATEMENT_FORBIDDEN", "the statement is not allowed in a transaction")
)

// DB is the handle of a service's database. It is made while the service is
// declared and works from the moment the service starts; until then every
// method answers [ErrNotOpen]. Safe for concurrent use.
type DB struct {
	service string
	sets    []migrationSet
	twice   bool
	level   Isolation
	engine  atomic.Pointer[Engine]
	running sync.Map // in test mode: the goroutines inside a transaction function
	parts   parts
	bells   bells
}

type migrationSet struct {
	name  string
	files fs.FS
}

// NewDB returns an unopened handle for the service. Users get theirs from the
// setup of a service; NewDB is for those who use this package alone.
func NewDB(service string) *DB { return &DB{service: service} }

// Migrations adds a set of migrations that Open applies, in the order in
// which the sets were added. Adding a set of the same name again replaces it.
func (db *DB) Migrations(set string, files fs.FS) {
	for i := range db.sets {
		if db.sets[i].name == set {
			db.sets[i].files = files
			return
		}
	}
	db.sets = append(db.sets, migrationSet{set, files})
}

// RunTwice makes every Do run its function twice, the first time in a
// savepoint that is rolled back: a function that is not safe to run again
// shows itself in tests. It also finds a nested Do that was given a context
// from outside the transaction. Call it before Open.
func (db *DB) RunTwice() { db.twice = true }

// Isolation declares that the service's functions are right under a weaker
// level than [Serializable], which costs Postgres runs that are in conflict
// with others:
//
//	db := s.DB(migrations)
//	db.Isolation(store.ReadCommitted) // every UPDATE says what it expects of its row
//
// It is for a service that has measured those conflicts. SQLite runs one
// transaction at a time whatever is declared, so that tests on it do not find
// what the weaker level breaks. The mechanisms of the framework are right
// under every level. Call it before Open.
func (db *DB) Isolation(level Isolation) { db.level = level }

// Service returns the name of the service that owns the database.
func (db *DB) Service() string { return db.service }

// Open opens the database and applies the migrations. The handle works once it
// has returned nil.
func (db *DB) Open(ctx context.Context, opener Opener, o OpenOptions) error {
	o.Service, o.Isolation = db.service, db.level
	e, err := opener.Open(ctx, o)
	if err != nil {
		return fmt.Errorf("open the store of %s: %w", db.service, err)
	}
	for _, set := range db.sets {
		if err := e.Migrate(ctx, set.name, set.files); err != nil {
			return errors.Join(fmt.Errorf("migrate %s of %s: %w", set.name, db.service, err), e.Close())
		}
	}
	if n, ok := e.(Notifier); ok {
		n.Subscribe(db.bells.ring)
	}
	db.engine.Store(&e)
	return nil
}

// Close closes the database after what runs has ended. It is legal before
// Open, and again.
func (db *DB) Close() error {
	if e := db.engine.Swap(nil); e != nil {
		return (*e).Close()
	}
	return nil
}

// Dialect returns the SQL dialect, and "" while the database is not open.
func (db *DB) Dialect() Dialect {
	if e := db.engine.Load(); e != nil {
		return (*e).Dialect()
	}
	return ""
}

// Do runs fn in one transaction ([DB.Isolation]) and returns after the commit is
// on disk. Whatever fn did through tx happens together or not at all: SQL,
// events, replies, sagas.
//
// fn may be run more than once, so it changes nothing but the database. Its
// ctx shadows the caller's and is marked: a nested Do, another database or a
// remote call with it fails at once. An error from fn, from any statement
// (also one whose error fn ignored) or from tx.Fail rolls everything back. A
// panic rolls back and goes on to the caller.
func (db *DB) Do(ctx context.Context, fn func(ctx context.Context, tx *Tx) error) error {
	if Inside(ctx) {
		return ErrNested
	}
	e := db.engine.Load()
	if e == nil {
		return ErrNotOpen.WithMetadata("service", db.service)
	}
	if db.twice {
		if _, nested := db.running.Load(goroutine()); nested {
			return ErrNested
		}
	}
	var last *Tx
	dialect := (*e).Dialect()
	err := (*e).Write(ctx, func(c Conn) error {
		if db.twice {
			id := goroutine()
			db.running.Store(id, true)
			defer db.running.Delete(id)
			if err := db.rehearse(ctx, dialect, c, fn); err != nil {
				return err
			}
		}
		last = newTx(ctx, db, dialect, c)
		return last.run(fn)
	})
	if err != nil {
		return err
	}
	last.committed()
	return nil
}

// goroutine returns the number of the goroutine. It takes about a microsecond,
// and is for test mode only.
func goroutine() string {
	var buf [40]byte
	line := buf[:runtime.Stack(buf[:], false)] // "goroutine 7 [running]:…"
	fields := bytes.Fields(line)
	return string(fields[1])
}

// Read runs fn on a snapshot of the database that holds all acknowledged
// commits. It neither waits for writers nor makes them wait. Inside a
// transaction it would not see what the transaction wrote, and is refused with
// [ErrNested]: read through the Tx. So is a read inside a read, which would
// hold one of few connections while it waits for another.
func (db *DB) Read(ctx context.Context, fn func(ctx context.Context, q Querier) error) error {
	if Inside(ctx) {
		return ErrNested
	}
	e := db.engine.Load()
	if e == nil {
		return ErrNotOpen.WithMetadata("service", db.service)
	}
	if ctx.Value(readingKey{db}) != nil {
		return ErrNested.WithMessage("a read was begun inside a read: use the Querier that the function was given")
	}
	ctx = context.WithValue(ctx, readingKey{db}, true)
	return (*e).Read(ctx, func(q Querier) error { return fn(ctx, q) })
}

// readingKey marks the context of a read of the database.
type readingKey struct{ db *DB }

var errRehearsed = errors.New("rehearsed")

// rehearse runs fn once in a savepoint and undoes it.
func (db *DB) rehearse(ctx context.Context, d Dialect, c Conn, fn func(context.Context, *Tx) error) error {
	err := c.Try(ctx, func() error {
		if err := newTx(ctx, db, d, c).run(fn); err != nil {
			return err
		}
		return errRehearsed
	})
	if errors.Is(err, errRehearsed) {
		return nil
	}
	return err
}
