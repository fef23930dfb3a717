package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/argosy-go/argosy/store"
)

// Target is an adapter with an empty place to store in.
type Target struct {
	Opener store.Opener
	// Options are handed to the opener; Service and IdleLimit are set by the suite.
	Options store.OpenOptions
	// Parallel says that transactions run side by side, so that a function
	// which idles makes nobody wait and is left alone.
	Parallel bool
}

// idleLimit is how soon idle functions are revoked in the checks that are
// about it. In all others they are not: a machine may be busy.
const idleLimit = 100 * time.Millisecond

// patience is how long the suite waits for something that must happen.
const patience = 20 * time.Second

var tables = fstest.MapFS{"0001_tables.sql": {Data: []byte(`-- +goose Up
CREATE TABLE item (id BIGINT PRIMARY KEY, name TEXT NOT NULL, at BIGINT NOT NULL DEFAULT 0);
CREATE TABLE counter (name TEXT PRIMARY KEY, n BIGINT NOT NULL);
CREATE TABLE parent (id BIGINT PRIMARY KEY);
CREATE TABLE child (id BIGINT PRIMARY KEY, parent_id BIGINT NOT NULL REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED);
`)}}

// Run runs the suite. target is called once a test and gives a place of its
// own to each.
func Run(t *testing.T, target func(t *testing.T) Target) {
	t.Helper()
	groups := []struct {
		name  string
		rules []rule
	}{
		{"write", writeRules},
		{"alone", aloneRules},
		{"statement", statementRules},
		{"part", partRules},
		{"handle", handleRules},
		{"read", readRules},
		{"lease", leaseRules},
		{"migrate", migrateRules},
	}
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			for _, r := range g.rules {
				t.Run(r.name, func(t *testing.T) {
					r.check(t, &fixture{target: target(t)})
				})
			}
		})
	}
}

// rule is one promise of the contract with its check.
type rule struct {
	name  string
	check func(t *testing.T, f *fixture)
}

// fixture is what a check works with.
type fixture struct {
	target  Target
	revokes bool // idle functions are revoked after idleLimit
}

// open returns the database with the suite's tables.
func (f *fixture) open(t *testing.T, prepare ...func(*store.DB)) *store.DB {
	t.Helper()
	db := store.NewDB("conformance")
	db.Migrations("service", tables)
	db.Migrations(store.LeaseSet, store.LeaseMigrations())
	for _, p := range prepare {
		p(db)
	}
	f.openDB(t, db)
	return db
}

func (f *fixture) openDB(t *testing.T, db *store.DB) {
	t.Helper()
	o := f.target.Options
	o.IdleLimit = 2 * patience
	if f.revokes {
		o.IdleLimit = idleLimit
	}
	if err := db.Open(t.Context(), f.target.Opener, o); err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

// insert returns a function that inserts one item.
func insert(id int) func(context.Context, *store.Tx) error {
	return func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO item (id, name) VALUES ($1, $2)", id, "item")
		return err
	}
}

// must fails the test when a transaction that has to succeed does not.
func must(t *testing.T, err error, rule string) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s; got: %v", rule, err)
	}
}

// ids returns the ids of all items.
func ids(t *testing.T, db *store.DB) []int {
	t.Helper()
	var out []int
	err := db.Read(t.Context(), func(ctx context.Context, q store.Querier) error {
		out = nil
		rows, err := q.QueryContext(ctx, "SELECT id FROM item ORDER BY id")
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var id int
			if err := rows.Scan(&id); err != nil {
				return err
			}
			out = append(out, id)
		}
		return rows.Err()
	})
	must(t, err, "a read of all items must succeed")
	return out
}

// wantIDs compares the items that are there with those that must be.
func wantIDs(t *testing.T, db *store.DB, rule string, want ...int) {
	t.Helper()
	got := ids(t, db)
	if len(got) != len(want) {
		t.Fatalf("%s: items %v are there, want %v", rule, got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("%s: items %v are there, want %v", rule, got, want)
		}
	}
}

// together runs functions at the same time, so that an engine which groups
// them does: while an empty one runs, they wait in its queue. It returns their
// errors; one that panicked or exited has an error too.
func together(t *testing.T, db *store.DB, fns ...func(context.Context, *store.Tx) error) []error {
	t.Helper()
	started, queued := make(chan struct{}), make(chan struct{})
	blocker := make(chan error, 1)
	go func() {
		first := true
		blocker <- db.Do(context.Background(), func(ctx context.Context, tx *store.Tx) error {
			if first {
				first = false
				close(started)
				<-queued
			}
			return nil
		})
	}()
	<-started
	errs := make([]error, len(fns))
	done := make(chan int, len(fns))
	for i, fn := range fns {
		waiting := make(chan struct{})
		go func() {
			defer func() {
				if v := recover(); v != nil {
					errs[i] = fmt.Errorf("it panicked: %v", v)
				}
				done <- i
			}()
			errs[i] = errors.New("the goroutine ended before Do returned")
			errs[i] = db.Do(signalling(waiting), fn)
		}()
		await(t, waiting, "Do must ask its context whether it has ended, before it waits")
	}
	close(queued)
	for range fns {
		select {
		case <-done:
		case <-time.After(patience):
			t.Fatal("transactions that run together must all end")
		}
	}
	<-blocker
	return errs
}

// signalling returns a context that closes the channel when somebody first
// waits for it to end: the caller of Do is then in the engine's hands.
func signalling(waiting chan struct{}) context.Context {
	return &waitContext{Context: context.Background(), waiting: waiting}
}

type waitContext struct {
	context.Context
	once    sync.Once
	waiting chan struct{}
}

func (c *waitContext) Done() <-chan struct{} {
	c.once.Do(func() { close(c.waiting) })
	return c.Context.Done()
}

// await waits for a signal.
func await(t *testing.T, c <-chan struct{}, rule string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("%s: it did not within %v", rule, patience)
	}
}
