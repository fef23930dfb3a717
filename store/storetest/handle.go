package storetest

import (
	"context"
	"errors"
	"testing"

	"github.com/argosy-go/argosy/store"
)

// handleRules: the handle before, during and after the life of a store.
var handleRules = []rule{
	{"a handle that is not open says so", func(t *testing.T, f *fixture) {
		db := f.handle()
		if err := db.Do(t.Context(), insert(1)); !errors.Is(err, store.ErrNotOpen) {
			t.Errorf("Do before Open is ErrNotOpen: got %v", err)
		}
		if err := db.Read(t.Context(), func(context.Context, store.Querier) error { return nil }); !errors.Is(err, store.ErrNotOpen) {
			t.Errorf("Read before Open is ErrNotOpen: got %v", err)
		}
		must(t, db.Close(), "Close before Open is legal")
	}},
	{"Close is legal again, and what comes after it is refused", func(t *testing.T, f *fixture) {
		db := f.open(t)
		must(t, db.Close(), "Close must succeed")
		must(t, db.Close(), "Close is legal again")
		if err := db.Do(t.Context(), insert(1)); !errors.Is(err, store.ErrNotOpen) {
			t.Errorf("Do after Close is ErrNotOpen: got %v", err)
		}
	}},
	{"Close waits for what runs", func(t *testing.T, f *fixture) {
		db := f.open(t)
		started, release := make(chan struct{}), make(chan struct{})
		wrote, closed := make(chan error, 1), make(chan error, 1)
		first := true
		go func() {
			wrote <- db.Do(context.Background(), func(ctx context.Context, tx *store.Tx) error {
				if first {
					first = false
					close(started)
					<-release
				}
				return insert(1)(ctx, tx)
			})
		}()
		await(t, started, "a transaction must run")
		go func() { closed <- db.Close() }()
		close(release)
		must(t, <-wrote, "a transaction that runs when Close is called commits")
		must(t, <-closed, "Close must succeed")
		wantIDs(t, f.open(t), "what ran when Close was called is there", 1)
	}},
	{"Do inside a transaction is refused", func(t *testing.T, f *fixture) {
		db := f.open(t)
		err := db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			if err := db.Do(ctx, insert(1)); !errors.Is(err, store.ErrNested) {
				t.Errorf("Do inside Do is ErrNested: got %v", err)
			}
			if !store.Inside(ctx) {
				t.Error("the context of a transaction function is marked")
			}
			return insert(2)(ctx, tx)
		})
		must(t, err, "the outer transaction is not harmed by a refused nested one")
		wantIDs(t, db, "the nested transaction wrote nothing", 2)
	}},
	{"Do with the outer context inside a transaction is refused in test mode", func(t *testing.T, f *fixture) {
		db := f.open(t, (*store.DB).RunTwice)
		outer := t.Context()
		err := db.Do(outer, func(ctx context.Context, tx *store.Tx) error {
			if err := db.Do(outer, insert(1)); !errors.Is(err, store.ErrNested) {
				t.Errorf("RunTwice finds a nested Do by its goroutine: got %v", err)
			}
			return nil
		})
		must(t, err, "the outer transaction is not harmed")
	}},
}
