package storetest

import (
	"context"
	"errors"
	"testing"

	"github.com/argosy-go/argosy/store"
)

// readRules: what a read sees and may do.
var readRules = []rule{
	{"a read sees one snapshot, whatever is committed meanwhile", func(t *testing.T, f *fixture) {
		db := f.open(t)
		must(t, db.Do(t.Context(), insert(1)), "Do must commit")
		must(t, db.Read(t.Context(), func(ctx context.Context, q store.Querier) error {
			for i := range 3 {
				var n int
				if err := q.QueryRowContext(ctx, "SELECT count(*) FROM item").Scan(&n); err != nil {
					return err
				}
				if n != 1 {
					t.Errorf("a read stays on its snapshot: it sees %d items after %d more commits", n, i)
				}
				if err := db.Do(context.Background(), insert(10+i)); err != nil {
					return err
				}
			}
			return nil
		}), "a read neither waits for writers nor makes them wait")
	}},
	{"a read sees every commit that was acknowledged before it", func(t *testing.T, f *fixture) {
		db := f.open(t)
		for i := range 50 {
			must(t, db.Do(t.Context(), insert(i)), "Do must commit")
			if n := len(ids(t, db)); n != i+1 {
				t.Fatalf("a read holds every acknowledged commit: %d of %d", n, i+1)
			}
		}
	}},
	{"a read does not see what is not committed", func(t *testing.T, f *fixture) {
		db := f.open(t)
		must(t, db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			if err := insert(1)(ctx, tx); err != nil {
				return err
			}
			if n := len(ids(t, db)); n != 0 {
				t.Errorf("a read sees %d items that are not committed", n)
			}
			return nil
		}), "Do must commit")
	}},
	{"a statement that writes fails in a read", func(t *testing.T, f *fixture) {
		db := f.open(t)
		for _, query := range []string{"INSERT INTO item (id, name) VALUES (1, 'a')", "DELETE FROM item", "COMMIT", "CREATE TABLE x (id BIGINT)"} {
			err := db.Read(t.Context(), func(ctx context.Context, q store.Querier) error {
				_, err := q.ExecContext(ctx, query)
				return err
			})
			if err == nil {
				t.Errorf("%q fails in a read", query)
			}
		}
		wantIDs(t, db, "a read writes nothing")
	}},
	{"a read with an ended context fails, and later reads work", func(t *testing.T, f *fixture) {
		db := f.open(t)
		for range 20 {
			ctx, cancel := context.WithCancel(t.Context())
			err := db.Read(ctx, func(ctx context.Context, q store.Querier) error {
				cancel()
				_, err := q.ExecContext(ctx, "SELECT 1")
				return err
			})
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("a statement with an ended context fails with its error: got %v", err)
			}
			wantIDs(t, db, "a cancelled read harms no other")
		}
	}},
	{"a read that panics or fails gives its connection back", func(t *testing.T, f *fixture) {
		db := f.open(t)
		for range 100 {
			func() {
				defer func() {
					if recover() == nil {
						t.Error("a panic in a read reappears at its caller")
					}
				}()
				_ = db.Read(t.Context(), func(context.Context, store.Querier) error { panic("a bug") })
			}()
		}
		wantIDs(t, db, "reads work on after panics")
	}},
}
