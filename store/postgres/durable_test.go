package postgres_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/internal/pgtest"
	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/store/postgres"
)

// refusal opens a database and returns the error.
func refusal(t *testing.T, url string) *fault.Error {
	t.Helper()
	db := store.NewDB("an-order")
	err := db.Open(t.Context(), postgres.Opener{}, store.OpenOptions{URL: url})
	if err == nil {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
	return fault.From(err)
}

func wantRefused(t *testing.T, e *fault.Error, setting string) {
	t.Helper()
	if e == nil || e.Code != codes.FailedPrecondition || e.Reason != "STORE_NOT_DURABLE" || !strings.Contains(e.Message, setting) || !strings.Contains(e.Message, "set it to on") {
		t.Errorf("got %v: want STORE_NOT_DURABLE, which says that %s has to be on", e, setting)
	}
}

func TestAServerThatDoesNotWaitForItsDiskIsRefused(t *testing.T) {
	for _, setting := range []string{"fsync", "full_page_writes"} {
		if url, ok := pgtest.Private(t, setting+"=off"); ok {
			wantRefused(t, refusal(t, url), setting)
		}
	}
}

func TestASessionThatDoesNotWaitForTheDiskIsRefused(t *testing.T) {
	for _, value := range []string{"off", "local"} {
		text := pgtest.Database(t)
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		query := u.Query()
		query.Set("synchronous_commit", value)
		u.RawQuery = query.Encode()
		wantRefused(t, refusal(t, u.String()), "synchronous_commit")

		pgtest.Exec(t, text, "ALTER DATABASE "+strings.TrimPrefix(u.Path, "/")+" SET synchronous_commit = "+value)
		wantRefused(t, refusal(t, text), "synchronous_commit")
	}
}

func TestANewConnectionIsRefusedWhenTheServerNoLongerWaits(t *testing.T) {
	text := pgtest.Database(t)
	db := openDB(t, postgres.Opener{}, text, table)
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, text, "ALTER DATABASE "+strings.TrimPrefix(u.Path, "/")+" SET synchronous_commit = off")
	pgtest.Exec(t, text, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'argosy %' AND datname = current_database()")
	wantRefused(t, fault.From(db.Do(t.Context(), put(1))), "synchronous_commit")
}

func TestWhatATransactionSetsDoesNotReachItsCommit(t *testing.T) {
	url := pgtest.Database(t)
	db := openDB(t, postgres.Opener{MaxConns: 1}, url, table)
	// A trigger that runs inside the COMMIT tells what it waits for.
	pgtest.Exec(t, url, `CREATE TABLE an_order.told (value TEXT);
		CREATE FUNCTION an_order.tell() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN INSERT INTO an_order.told VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$;
		CREATE CONSTRAINT TRIGGER tell AFTER INSERT ON an_order.t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION an_order.tell()`)
	for _, query := range []string{
		"SELECT set_config('synchronous_commit', 'off', true)",
		"SELECT set_config('synchronous_commit', 'off', false)",
		"UPDATE pg_settings SET setting = 'off' WHERE name = 'synchronous_commit'",
		"DO $$ BEGIN SET LOCAL synchronous_commit = off; END $$",
		"DO $$ BEGIN SET synchronous_commit = off; END $$",
		"SELECT 1",
	} {
		err := db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			if _, err := tx.ExecContext(ctx, query); err != nil {
				return err
			}
			return put(1)(ctx, tx)
		})
		if err != nil {
			t.Errorf("%s: %v", query, err)
		}
	}
	err := db.Read(t.Context(), func(ctx context.Context, q store.Querier) error {
		var all, waiting int
		if err := q.QueryRowContext(ctx, "SELECT count(*), count(*) FILTER (WHERE value = 'on') FROM told").Scan(&all, &waiting); err != nil {
			return err
		}
		if all != 6 || waiting != all {
			t.Errorf("%d of %d commits waited for the disk", waiting, all)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestATransactionCannotChangeHowStatementsAreRead(t *testing.T) {
	url := pgtest.Database(t)
	db := openDB(t, postgres.Opener{MaxConns: 1}, url, table)
	const turnOff = "SELECT set_config('standard_conforming_strings', 'off', false)"
	for name, next := range map[string]string{
		"in the same transaction": `SELECT 'a\'; COMMIT; SELECT 'b'`, // another statement when it is off
		"at its end":              "",
	} {
		err := db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.ExecContext(ctx, turnOff)
			if err == nil && next != "" {
				_, err = tx.ExecContext(ctx, next)
			}
			return err
		})
		if !errors.Is(err, store.ErrForbidden) {
			t.Errorf("%s: got %v, want ErrForbidden", name, err)
		}
		if err := db.Do(t.Context(), put(1)); err != nil {
			t.Errorf("%s: the next transaction: %v", name, err)
		}
	}
}
