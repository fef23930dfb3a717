package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"github.com/argosy-go/argosy/store"
)

var tables = fstest.MapFS{"0001_t.sql": {Data: []byte(`-- +goose Up
CREATE TABLE t (id BIGINT PRIMARY KEY, b TEXT);
CREATE TABLE harsh (id BIGINT PRIMARY KEY ON CONFLICT ROLLBACK);
`)}}

// openTest returns an open engine with its handle.
func openTest(t *testing.T, dir string) (*engine, *store.DB) {
	t.Helper()
	var e *engine
	db := store.NewDB("order")
	db.Migrations("service", tables)
	if err := db.Open(t.Context(), tap{&e}, store.OpenOptions{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return e, db
}

// tap is an Opener that lets the test have the engine.
type tap struct{ engine **engine }

func (o tap) Open(ctx context.Context, opts store.OpenOptions) (store.Engine, error) {
	e, err := Opener{}.Open(ctx, opts)
	if err == nil {
		*o.engine = e.(*engine)
	}
	return e, err
}

// onCommit runs f instead of every COMMIT; f may commit, or not.
func onCommit(e *engine, f func(commit func() error) error) {
	delete(e.writer.raw.control, "COMMIT")
	e.writer.raw.conn = hooked{e.writer.raw.conn, f}
}

type hooked struct {
	driverConn
	f func(func() error) error
}

func (h hooked) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	s, err := h.driverConn.PrepareContext(ctx, query)
	if err != nil || query != "COMMIT" {
		return s, err
	}
	return hookedStmt{s.(statement), h.f}, nil
}

type hookedStmt struct {
	statement
	f func(func() error) error
}

func (s hookedStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return nil, s.f(func() error {
		_, err := s.statement.ExecContext(ctx, args)
		return err
	})
}

// diskError is an error with SQLite's code.
type diskError int

func (e diskError) Error() string { return fmt.Sprintf("disk error %d", int(e)) }
func (e diskError) Code() int     { return int(e) }

const ioErrFsync = 10 | 4<<8

func put(id int) func(context.Context, *store.Tx) error {
	return func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO t (id, b) VALUES ($1, 'x')", id)
		return err
	}
}

func count(t *testing.T, db *store.DB) (n int) {
	t.Helper()
	err := db.Read(t.Context(), func(ctx context.Context, q store.Querier) error {
		return q.QueryRowContext(ctx, "SELECT count(*) FROM t").Scan(&n)
	})
	if err != nil {
		t.Fatalf("reads go on: %v", err)
	}
	return n
}

func TestNobodyIsToldBeforeTheCommitHasReturned(t *testing.T) {
	e, db := openTest(t, t.TempDir())
	var commits atomic.Int64 // that have returned
	onCommit(e, func(commit func() error) error {
		defer commits.Add(1)
		return commit()
	})
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			var ran int64
			_ = db.Do(context.Background(), func(ctx context.Context, tx *store.Tx) error {
				ran = commits.Load()
				if i%8 == 0 { // who fails may have read what a sibling wrote
					return errors.New("no")
				}
				return put(i)(ctx, tx)
			})
			if commits.Load() == ran {
				t.Error("a caller was answered before the commit of its group had returned")
			}
		})
	}
	wg.Wait()
	if n := count(t, db); n != 56 {
		t.Errorf("%d rows, want 56", n)
	}
}

func TestTheWriterSyncs(t *testing.T) {
	e, _ := openTest(t, t.TempDir())
	for pragma, want := range map[string]string{"synchronous": "2", "journal_mode": "wal", "foreign_keys": "1"} {
		if got, err := e.writer.raw.text("PRAGMA " + pragma); err != nil || got != want {
			t.Errorf("PRAGMA %s after the migrations is %q, %v: want %q", pragma, got, err, want)
		}
	}
}

func TestAFailedFsyncStopsWriting(t *testing.T) {
	dir := t.TempDir()
	e, db := openTest(t, dir)
	if err := db.Do(t.Context(), put(1)); err != nil {
		t.Fatal(err)
	}
	onCommit(e, func(func() error) error { return diskError(ioErrFsync) })
	if err := db.Do(t.Context(), put(2)); !errors.Is(err, store.ErrUnknown) {
		t.Errorf("the outcome of a commit whose fsync failed is unknown: got %v", err)
	}
	if err := db.Do(t.Context(), put(3)); !errors.Is(err, store.ErrStopped) {
		t.Errorf("nothing is written after a failed fsync: got %v", err)
	}
	if n := count(t, db); n != 1 {
		t.Errorf("reads see %d rows, want 1", n)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	_, db = openTest(t, dir)
	if err := db.Do(t.Context(), put(4)); err != nil {
		t.Errorf("a store that was opened again takes writes: %v", err)
	}
}

func TestAFullDiskAtTheCommitFailsWritesUntilThereIsSpace(t *testing.T) {
	e, db := openTest(t, t.TempDir())
	var full atomic.Bool
	onCommit(e, func(commit func() error) error {
		if full.Load() {
			return diskError(codeFull)
		}
		return commit()
	})
	full.Store(true)
	if err := db.Do(t.Context(), put(1)); !errors.Is(err, store.ErrFull) {
		t.Errorf("a write without space is ErrFull: got %v", err)
	}
	if n := count(t, db); n != 0 {
		t.Errorf("reads see %d rows of a write that failed", n)
	}
	full.Store(false)
	if err := db.Do(t.Context(), put(1)); err != nil {
		t.Errorf("writes work again when there is space: %v", err)
	}
}

func TestAFullDiskInAStatementFailsThatTransaction(t *testing.T) {
	e, db := openTest(t, t.TempDir())
	limit := func(pages string) {
		t.Helper()
		// The connection is free: nobody holds the role.
		if _, err := e.writer.raw.text("PRAGMA max_page_count = " + pages); err != nil {
			t.Fatal(err)
		}
	}
	limit("20")
	big := func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO t (id, b) VALUES (1, hex(zeroblob(1000000)))")
		return err
	}
	if err := db.Do(t.Context(), big); !errors.Is(err, store.ErrFull) {
		t.Errorf("a write without space is ErrFull: got %v", err)
	}
	if err := db.Do(t.Context(), put(2)); err != nil {
		t.Errorf("what fits is written: %v", err)
	}
	limit("100000")
	if err := db.Do(t.Context(), big); err != nil {
		t.Errorf("writes work again when there is space: %v", err)
	}
}

func TestAFunctionThatSpoilsItsGroupFailsAlone(t *testing.T) {
	e, db := openTest(t, t.TempDir())
	harsh := func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO harsh (id) VALUES (1)")
		return err
	}
	if err := db.Do(t.Context(), harsh); err != nil {
		t.Fatal(err)
	}
	// The first commit waits until the others are in the queue.
	release := make(chan struct{})
	onCommit(e, func(commit func() error) error {
		<-release
		return commit()
	})
	fns := []func(context.Context, *store.Tx) error{put(0), put(1), put(2), harsh, put(4)}
	errs := make([]error, len(fns))
	var wg sync.WaitGroup
	var ended atomic.Int64
	for i, fn := range fns {
		wg.Go(func() {
			errs[i] = db.Do(context.Background(), fn)
			ended.Add(1)
		})
	}
	// Every caller must have come before the first commit goes on. The offender
	// may come first and be gone already: its statement fails, not its commit.
	for e.writer.callers.Load()+ended.Load() < int64(len(fns)) {
		runtime.Gosched()
	}
	close(release)
	wg.Wait()
	for i, err := range errs {
		if (err != nil) != (i == 3) {
			t.Errorf("function %d: %v; only the offender fails when SQLite rolls back the whole group", i, err)
		}
	}
	if n := count(t, db); n != 4 {
		t.Errorf("%d rows, want 4", n)
	}
}

func TestPreparedStatementsAreBounded(t *testing.T) {
	e, db := openTest(t, t.TempDir())
	err := db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		for i := range 3 * cacheSize {
			if _, err := tx.ExecContext(ctx, fmt.Sprintf("SELECT %d", i)); err != nil {
				return err
			}
		}
		return put(1)(ctx, tx)
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(e.writer.raw.cache); n > cacheSize || n != e.writer.raw.recent.Len() {
		t.Errorf("%d statements are cached, at most %d may be", n, cacheSize)
	}
}
