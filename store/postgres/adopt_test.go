package postgres_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/internal/pgtest"
	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/store/postgres"
)

// owned is a transaction of a service that was there before Argosy.
type owned struct {
	exec     func(query string) error
	adopt    func(fn func(context.Context, *store.Tx) error) (func(), error)
	commit   func() error
	rollback func() error
}

// owners begin a transaction as such services do.
func owners(t *testing.T, url string, db *store.DB) map[string]func() owned {
	ctx := t.Context()
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	std := sql.OpenDB(stdlib.GetPoolConnector(pool))
	t.Cleanup(func() { _ = std.Close() })
	return map[string]func() owned{
		"of pgx": func() owned {
			tx, err := pool.Begin(ctx)
			if err != nil {
				t.Fatal(err)
			}
			return owned{
				func(query string) error { _, err := tx.Exec(ctx, query); return err },
				func(fn func(context.Context, *store.Tx) error) (func(), error) {
					return postgres.Adopt(ctx, db, tx, fn)
				},
				func() error { return tx.Commit(ctx) }, func() error { return tx.Rollback(ctx) },
			}
		},
		"of database/sql": func() owned {
			tx, err := std.BeginTx(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			return owned{
				func(query string) error { _, err := tx.ExecContext(ctx, query); return err },
				func(fn func(context.Context, *store.Tx) error) (func(), error) {
					return postgres.AdoptSQL(ctx, db, tx, fn)
				},
				tx.Commit, tx.Rollback,
			}
		},
	}
}

// collected writes down a string when its transaction is about to end, as the
// outbox does with events.
func collected(tx *store.Tx, s string) {
	store.Collect(tx, s, func(ctx context.Context, tx *store.Tx, all []string) error {
		for _, s := range all {
			if _, err := tx.ExecContext(ctx, "INSERT INTO t (a, b) VALUES (0, $1)", s); err != nil {
				return err
			}
		}
		return nil
	})
}

func TestAServicesOwnTransactionTakesAlongWhatIsDoneInIt(t *testing.T) {
	url := pgtest.Database(t)
	db := openDB(t, postgres.Opener{}, url, table)
	pgtest.Exec(t, url, "CREATE TABLE public.legacy (id BIGINT PRIMARY KEY)")
	boom := errors.New("boom")
	for name, begin := range owners(t, url, db) {
		for _, commits := range []bool{false, true} {
			pgtest.Exec(t, url, "TRUNCATE public.legacy; TRUNCATE an_order.t")
			after := 0
			work := func(s string, fail error) func(context.Context, *store.Tx) error {
				return func(ctx context.Context, tx *store.Tx) error {
					collected(tx, s)
					tx.AfterCommit(func() { after++ })
					var there int
					if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM legacy").Scan(&there); err != nil || there != 1 {
						t.Errorf("%s: of what the service wrote, %d rows are there in its own transaction, %v", name, there, err)
					}
					return fail
				}
			}
			tx := begin()
			if err := tx.exec("INSERT INTO legacy VALUES (1)"); err != nil {
				t.Fatal(err)
			}
			if _, err := tx.adopt(work("undone", boom)); !errors.Is(err, boom) {
				t.Errorf("%s: the error of the function comes back: got %v", name, err)
			}
			committed, err := tx.adopt(work("kept", nil))
			if err != nil {
				t.Fatal(err)
			}
			if err := tx.exec("UPDATE legacy SET id = 2"); err != nil {
				t.Errorf("%s: the transaction goes on, and finds its tables as before: %v", name, err)
			}
			if n := count(t, db); n != 0 || after != 0 {
				t.Errorf("%s: %d rows, and %d functions that wait for it, before the commit", name, n, after)
			}
			if !commits {
				if err := tx.rollback(); err != nil || count(t, db) != 0 {
					t.Errorf("%s: %d rows after the rollback, %v", name, count(t, db), err)
				}
				continue
			}
			if err := tx.commit(); err != nil {
				t.Fatal(err)
			}
			committed()
			if n := count(t, db); n != 1 || after != 1 {
				t.Errorf("%s: %d rows and %d functions after the commit, want the one of the function that succeeded", name, n, after)
			}
		}
	}
}

func TestAnAdoptedTransactionIsAStoresTransaction(t *testing.T) {
	url := pgtest.Database(t)
	db := openDB(t, postgres.Opener{}, url, table)
	for name, begin := range owners(t, url, db) {
		for what, c := range map[string]struct {
			fn   func(ctx context.Context, tx *store.Tx) error
			want error
		}{
			"it ends nothing":        {func(ctx context.Context, tx *store.Tx) error { _, err := tx.ExecContext(ctx, "COMMIT"); return err }, store.ErrForbidden},
			"nor in a row":           {func(ctx context.Context, tx *store.Tx) error { return tx.QueryRowContext(ctx, "COMMIT").Scan() }, store.ErrForbidden},
			"it forgets no error":    {func(ctx context.Context, tx *store.Tx) error { _, _ = tx.ExecContext(ctx, "COMMIT"); return nil }, store.ErrForbidden},
			"it has no other inside": {func(ctx context.Context, tx *store.Tx) error { return db.Do(ctx, put(1)) }, store.ErrNested},
			"a part may fail alone": {func(ctx context.Context, tx *store.Tx) error {
				err := tx.Try(ctx, func(ctx context.Context, tx *store.Tx) error {
					_, err := tx.ExecContext(ctx, "INSERT INTO nowhere VALUES (1)")
					return err
				})
				if err == nil {
					t.Error("there is no such table")
				}
				return put(1)(ctx, tx)
			}, nil},
			"values are those of every store": {func(ctx context.Context, tx *store.Tx) error {
				var n int64
				var text string
				var raw []byte
				var yes bool
				var f float64
				var none sql.NullString
				err := tx.QueryRowContext(ctx, "SELECT $1::bigint, $2::text, $3::bytea, $4::boolean, 1.5::float8, NULL::text", int64(1)<<60, "a'é", []byte{0, 255}, true).
					Scan(&n, &text, &raw, &yes, &f, &none)
				if n != 1<<60 || text != "a'é" || !bytes.Equal(raw, []byte{0, 255}) || !yes || f != 1.5 || none.Valid {
					t.Errorf("%s: got %d %q %v %t %g %v, %v", name, n, text, raw, yes, f, none, err)
				}
				rows, err := tx.QueryContext(ctx, "SELECT n FROM generate_series(1, 3) AS n WHERE n < $1", 3)
				if err != nil {
					return err
				}
				sum := 0
				for rows.Next() {
					if err := rows.Scan(&n); err != nil {
						return err
					}
					sum += int(n)
				}
				if sum != 3 {
					t.Errorf("%s: the sum is %d, %v", name, sum, rows.Err())
				}
				return rows.Err()
			}, nil},
		} {
			tx := begin()
			_, err := tx.adopt(c.fn)
			if !errors.Is(err, c.want) {
				t.Errorf("%s: %s: got %v, want %v", name, what, err, c.want)
			}
			if err := tx.exec("SELECT 1"); err != nil {
				t.Errorf("%s: %s: the transaction does not go on: %v", name, what, err)
			}
			if err := tx.rollback(); err != nil {
				t.Errorf("%s: %s: %v", name, what, err)
			}
		}
		tx := begin()
		if err := tx.exec("SET LOCAL synchronous_commit = off"); err != nil {
			t.Fatal(err)
		}
		_, err := tx.adopt(put(1))
		wantRefused(t, fault.From(err), "synchronous_commit")
		if err := tx.rollback(); err != nil {
			t.Error(err)
		}
	}
}
