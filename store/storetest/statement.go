package storetest

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/argosy-go/argosy/store"
)

// statementRules: what a statement may do, and what its failure does.
var statementRules = []rule{
	{"a swallowed statement error fails the transaction", func(t *testing.T, f *fixture) {
		db := f.open(t)
		must(t, db.Do(t.Context(), insert(1)), "Do must commit")
		var later error
		err := db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			_ = insert(1)(ctx, tx) // a duplicate
			later = insert(2)(ctx, tx)
			return nil
		})
		if err == nil {
			t.Error("the first statement that fails keeps the transaction from committing, also when fn ignores it")
		}
		if later == nil || err == nil || later.Error() != err.Error() {
			t.Errorf("every statement after a failed one is refused with its error: got %v, want %v", later, err)
		}
		wantIDs(t, db, "a poisoned transaction writes nothing", 1)
	}},
	{"sql.ErrNoRows does not poison", func(t *testing.T, f *fixture) {
		db := f.open(t)
		err := db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			var name string
			err := tx.QueryRowContext(ctx, "SELECT name FROM item WHERE id = $1", 1).Scan(&name)
			if !errors.Is(err, sql.ErrNoRows) {
				t.Errorf("a query without rows answers sql.ErrNoRows: got %v", err)
			}
			return insert(1)(ctx, tx)
		})
		must(t, err, "finding no row is not a failed statement")
	}},
	{"placeholders mean their number and not their order", func(t *testing.T, f *fixture) {
		db := f.open(t)
		err := db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.ExecContext(ctx, "INSERT INTO item (name, id, at) VALUES ($2, $1, $1) /* $3 */", 7, "it's $9")
			return err
		})
		must(t, err, "$2, $1 with two arguments is a statement")
		var name string
		var at int
		must(t, db.Read(t.Context(), func(ctx context.Context, q store.Querier) error {
			return q.QueryRowContext(ctx, "SELECT name, at FROM item WHERE id = $1 AND name <> '$2' -- $3", 7).Scan(&name, &at)
		}), "$N binds argument N, and is text in strings and comments")
		if name != "it's $9" || at != 7 {
			t.Errorf("$N binds argument N: got %q and %d", name, at)
		}
	}},
	{"the number of arguments must be that of the placeholders", func(t *testing.T, f *fixture) {
		db := f.open(t)
		for _, args := range [][]any{{}, {1}, {1, "a", "b"}} {
			err := db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
				_, _ = tx.ExecContext(ctx, "INSERT INTO item (id, name) VALUES ($1, $2)", args...)
				return nil
			})
			if err == nil {
				t.Errorf("a statement with two placeholders and %d arguments fails", len(args))
			}
		}
		wantIDs(t, db, "a statement with missing arguments writes nothing")
	}},
	{"what ends or escapes the transaction is refused, wherever it hides", func(t *testing.T, f *fixture) {
		db := f.open(t)
		for _, query := range escapes {
			err := db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
				if err := insert(1)(ctx, tx); err != nil {
					return err
				}
				_, _ = tx.ExecContext(ctx, query) // swallowed
				return nil
			})
			if !errors.Is(err, store.ErrForbidden) {
				t.Errorf("%q is refused with ErrForbidden: got %v", query, err)
			}
		}
		wantIDs(t, db, "a transaction that tried to escape writes nothing")
	}},
	{"RETURNING and prepared statements work", func(t *testing.T, f *fixture) {
		db := f.open(t)
		err := db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			stmt, err := tx.PrepareContext(ctx, "INSERT INTO item (id, name) VALUES ($1, $2) RETURNING id")
			if err != nil {
				return err
			}
			for i := range 3 {
				var id int
				if err := stmt.QueryRowContext(ctx, i+1, "a").Scan(&id); err != nil {
					return err
				}
				if id != i+1 {
					t.Errorf("RETURNING returns what was inserted: got %d", id)
				}
			}
			return nil // without closing stmt: it lives as long as the transaction
		})
		must(t, err, "a prepared statement lasts for its transaction")
		wantIDs(t, db, "prepared statements write", 1, 2, 3)
	}},
	{"a statement while rows are open is an error", func(t *testing.T, f *fixture) {
		db := f.open(t)
		must(t, db.Do(t.Context(), insert(1)), "Do must commit")
		err := db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			rows, err := tx.QueryContext(ctx, "SELECT id FROM item")
			if err != nil {
				return err
			}
			defer func() { _ = rows.Close() }()
			_ = insert(2)(ctx, tx)
			return rows.Err()
		})
		if err == nil {
			t.Error("a statement while rows are open fails: some stores cannot run it")
		}
	}},
	{"rows that are never closed fail their transaction and nothing else", func(t *testing.T, f *fixture) {
		db := f.open(t)
		must(t, db.Do(t.Context(), insert(1)), "Do must commit")
		for range 3 {
			err := db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
				_, err := tx.QueryContext(ctx, "SELECT id FROM item") //nolint:rowserrcheck,sqlclosecheck // the mistake under test
				return err
			})
			if err == nil {
				t.Error("rows that are left open fail the transaction")
			}
		}
		must(t, db.Do(t.Context(), insert(2)), "the engine works on after rows were left open")
	}},
	{"a Tx is dead once its function has returned", func(t *testing.T, f *fixture) {
		db := f.open(t)
		var leaked *store.Tx
		must(t, db.Do(t.Context(), func(_ context.Context, tx *store.Tx) error {
			leaked = tx
			return nil
		}), "Do must commit")
		if err := insert(1)(t.Context(), leaked); err == nil {
			t.Error("a statement on a Tx whose function has returned fails")
		}
		must(t, db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			if err := insert(2)(ctx, leaked); err == nil {
				t.Error("a Tx that leaked does not reach a later transaction")
			}
			return insert(3)(ctx, tx)
		}), "Do must commit")
		wantIDs(t, db, "a dead Tx writes nothing", 3)
	}},
	{"times come back as they went in, to the microsecond", func(t *testing.T, f *fixture) {
		db := f.open(t)
		for i, at := range []time.Time{{}, time.Unix(0, 0).Add(time.Microsecond), time.Date(2024, 2, 29, 23, 59, 59, 999999999, time.FixedZone("x", 3600)), time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)} {
			must(t, db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
				_, err := tx.ExecContext(ctx, "INSERT INTO item (id, name, at) VALUES ($1, 'a', $2)", i, store.At(at))
				return err
			}), "store.Time is a column value")
			var got store.Time
			must(t, db.Read(t.Context(), func(ctx context.Context, q store.Querier) error {
				return q.QueryRowContext(ctx, "SELECT at FROM item WHERE id = $1", i).Scan(&got)
			}), "store.Time scans")
			if want := at.Truncate(time.Microsecond); !got.Equal(want) || got.IsZero() != at.IsZero() {
				t.Errorf("a time comes back to the microsecond: got %v, want %v", got, want)
			}
		}
	}},
	{"a bare time.Time is refused as an argument", func(t *testing.T, f *fixture) {
		db := f.open(t)
		err := db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			_, _ = tx.ExecContext(ctx, "INSERT INTO item (id, name, at) VALUES (1, 'a', $1)", time.Now())
			return nil
		})
		if err == nil {
			t.Error("stores disagree on time.Time: it is refused, and store.At is the way")
		}
	}},
}

var escapes = []string{
	"COMMIT", "commit;", "END", "ROLLBACK", "BEGIN", "SAVEPOINT a", "RELEASE a",
	"PRAGMA synchronous = OFF", "ATTACH 'x' AS y", "DETACH y", "VACUUM",
	"/* harmless */ COMMIT", "-- harmless\nCOMMIT", "/**/--\n/* */;;\t COMMIT",
	"SELECT 1; COMMIT", "SELECT ';'; /* ; */ COMMIT; SELECT 2",
	"INSERT INTO item (id, name) VALUES (5, 'it''s'); COMMIT",
	`SELECT 1 AS "a;""b"; ROLLBACK`,
}
