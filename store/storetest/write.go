package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/argosy-go/argosy/store"
)

// writeRules: what one transaction is.
var writeRules = []rule{
	{"a transaction that succeeds is there for the next read", func(t *testing.T, f *fixture) {
		db := f.open(t)
		must(t, db.Do(t.Context(), insert(1)), "Do must commit what its function wrote")
		wantIDs(t, db, "an acknowledged commit is in every later snapshot", 1)
	}},
	{"a transaction is there after the database was closed and opened again", func(t *testing.T, f *fixture) {
		target := f.target
		db := f.open(t)
		must(t, db.Do(t.Context(), insert(1)), "Do must commit")
		must(t, db.Close(), "Close must succeed")
		again := &fixture{target: target}
		wantIDs(t, again.open(t), "a commit survives Close and Open", 1)
	}},
	{"an error from the function rolls everything back and is returned as it is", func(t *testing.T, f *fixture) {
		db := f.open(t)
		mine := errors.New("mine")
		err := db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			if err := insert(1)(ctx, tx); err != nil {
				return err
			}
			return mine
		})
		if err != mine { //nolint:errorlint // the rule is that it is the very error
			t.Errorf("fn's error is returned as it is: got %v", err)
		}
		wantIDs(t, db, "an error from fn rolls back what fn wrote")
	}},
	{"Tx.Fail rolls back although the function succeeds", func(t *testing.T, f *fixture) {
		db := f.open(t)
		mine := errors.New("mine")
		err := db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			tx.Fail(mine)
			return insert(1)(ctx, tx)
		})
		if !errors.Is(err, mine) {
			t.Errorf("Do returns what Fail was given: got %v", err)
		}
		wantIDs(t, db, "Tx.Fail keeps the transaction from committing")
	}},
	{"concurrent counters lose nothing", func(t *testing.T, f *fixture) {
		db := f.open(t)
		const callers, each = 16, 25
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				for range each {
					if err := db.Do(t.Context(), increment); err != nil {
						t.Errorf("a counting transaction must succeed: %v", err)
						return
					}
				}
			})
		}
		wg.Wait()
		if n := counted(t, db); n != callers*each {
			t.Errorf("transactions are serializable: %d increments made the counter %d", callers*each, n)
		}
	}},
	{"AfterCommit functions run after the commit and only then", func(t *testing.T, f *fixture) {
		db := f.open(t)
		var seen []int
		err := db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			tx.AfterCommit(func() { seen = ids(t, db) })
			return insert(1)(ctx, tx)
		})
		must(t, err, "Do must commit")
		if len(seen) != 1 {
			t.Errorf("an AfterCommit function runs when the commit can be read: it saw items %v", seen)
		}
		ran := false
		err = db.Do(t.Context(), func(_ context.Context, tx *store.Tx) error {
			tx.AfterCommit(func() { ran = true })
			return errors.New("no")
		})
		if err == nil || ran {
			t.Error("an AfterCommit function does not run when the transaction failed")
		}
	}},
	{"what is collected is flushed once, last, in order, without what a failed part collected", checkCollect},
	{"RunTwice runs the function twice and keeps one run", func(t *testing.T, f *fixture) {
		db := f.open(t, (*store.DB).RunTwice)
		runs := 0
		err := db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			runs++
			return increment(ctx, tx)
		})
		must(t, err, "Do must commit")
		if n := counted(t, db); runs != 2 || n != 1 {
			t.Errorf("RunTwice: %d runs made the counter %d, want 2 and 1", runs, n)
		}
	}},
}

func checkCollect(t *testing.T, f *fixture) {
	db := f.open(t)
	type note struct{ id int }
	var flushed []string
	flush := func(ctx context.Context, tx *store.Tx, notes []note) error {
		flushed = append(flushed, fmt.Sprint(notes))
		return insert(100)(ctx, tx)
	}
	err := db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		flushed = nil
		store.Collect(tx, note{1}, flush)
		_ = tx.Try(ctx, func(_ context.Context, tx *store.Tx) error {
			store.Collect(tx, note{2}, flush)
			return errors.New("this part fails")
		})
		store.Collect(tx, note{3}, flush)
		return insert(1)(ctx, tx)
	})
	must(t, err, "Do must commit")
	if fmt.Sprint(flushed) != "[[{1} {3}]]" {
		t.Errorf("items are flushed once, in order, without those of a failed Try: got %v", flushed)
	}
	wantIDs(t, db, "what a flush writes commits with the transaction", 1, 100)
	err = db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		store.Collect(tx, note{1}, flush)
		return nil
	})
	if err == nil {
		t.Error("an error of a flush fails the transaction")
	}
}

// increment adds one to the counter by reading and writing it.
func increment(ctx context.Context, tx *store.Tx) error {
	if _, err := tx.ExecContext(ctx, "INSERT INTO counter (name, n) VALUES ($1, 0) ON CONFLICT (name) DO NOTHING", "c"); err != nil {
		return err
	}
	var n int
	if err := tx.QueryRowContext(ctx, "SELECT n FROM counter WHERE name = $1", "c").Scan(&n); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "UPDATE counter SET n = $1 WHERE name = $2", n+1, "c")
	return err
}

func counted(t *testing.T, db *store.DB) (n int) {
	t.Helper()
	must(t, db.Read(t.Context(), func(ctx context.Context, q store.Querier) error {
		return q.QueryRowContext(ctx, "SELECT n FROM counter WHERE name = $1", "c").Scan(&n)
	}), "the counter must be readable")
	return n
}
