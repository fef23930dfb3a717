package storetest

import (
	"context"
	"errors"
	"testing"

	"github.com/argosy-go/argosy/store"
)

// partRules: Tx.Try, the only nesting.
var partRules = []rule{
	{"a part that fails is undone, and the rest commits", func(t *testing.T, f *fixture) {
		db := f.open(t)
		mine := errors.New("mine")
		err := db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			if err := insert(1)(ctx, tx); err != nil {
				return err
			}
			err := tx.Try(ctx, func(ctx context.Context, tx *store.Tx) error {
				return errors.Join(insert(2)(ctx, tx), mine)
			})
			if !errors.Is(err, mine) {
				t.Errorf("Try returns the error of its function: got %v", err)
			}
			return insert(3)(ctx, tx)
		})
		must(t, err, "a failed part leaves the transaction whole")
		wantIDs(t, db, "what a failed part wrote is rolled back", 1, 3)
	}},
	{"a part cures the poison that it caused", func(t *testing.T, f *fixture) {
		db := f.open(t)
		err := db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			if err := insert(1)(ctx, tx); err != nil {
				return err
			}
			err := tx.Try(ctx, func(ctx context.Context, tx *store.Tx) error {
				_ = insert(1)(ctx, tx) // a duplicate, swallowed
				return nil
			})
			if err == nil {
				t.Error("a part with a failed statement fails, also when its function ignores it")
			}
			return insert(2)(ctx, tx)
		})
		must(t, err, "a failed statement inside Try is cured by its end")
		wantIDs(t, db, "the transaction commits what is outside the failed part", 1, 2)
	}},
	{"a part does not cure what was poisoned before it", func(t *testing.T, f *fixture) {
		db := f.open(t)
		err := db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			_, _ = tx.ExecContext(ctx, "nonsense")
			_ = tx.Try(ctx, func(context.Context, *store.Tx) error {
				t.Error("Try runs nothing in a poisoned transaction")
				return errors.New("no")
			})
			return nil
		})
		if err == nil {
			t.Error("a poison from before a Try stays")
		}
	}},
	{"parts nest", func(t *testing.T, f *fixture) {
		db := f.open(t)
		err := db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			return tx.Try(ctx, func(ctx context.Context, tx *store.Tx) error {
				_ = tx.Try(ctx, func(ctx context.Context, tx *store.Tx) error {
					return errors.Join(insert(1)(ctx, tx), errors.New("no"))
				})
				_ = tx.Try(ctx, insert(2))
				return insert(3)(ctx, tx)
			})
		})
		must(t, err, "a part within a part may fail alone")
		wantIDs(t, db, "only the part that failed is undone", 2, 3)
	}},
	{"a panic in a part that is recovered outside it undoes the part", func(t *testing.T, f *fixture) {
		db := f.open(t)
		err := db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			func() {
				defer func() { _ = recover() }()
				_ = tx.Try(ctx, func(ctx context.Context, tx *store.Tx) error {
					_ = insert(1)(ctx, tx)
					panic("a bug")
				})
			}()
			return insert(2)(ctx, tx)
		})
		must(t, err, "a transaction goes on after a recovered panic in a part")
		wantIDs(t, db, "a panic undoes the part", 2)
	}},
}
