package postgres

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/argosy-go/argosy/internal/pgtest"
	"github.com/argosy-go/argosy/store"
)

var allowed = []string{
	"SELECT 1", "SELECT ';COMMIT'", `SELECT "a;""COMMIT" FROM b`, "SELECT $1; -- COMMIT", "SELECT $$;COMMIT$$", "SELECT $a1$;$$COMMIT;$a1$",
	"SELECT E'\\';COMMIT'", "SELECT e'\\\\', ';COMMIT'", "SELECT E'a'\n'\\';COMMIT'", "/* /* */ ;COMMIT */ SELECT 1", "SELECT 1 -- a\r, 2",
	"SELECT a$b$ FROM c", "SELECT a[1] FROM b", "SELECT a->>'$.b' FROM c", "SELECT a.commit FROM a", "EXPLAIN SELECT 1", "LOCK TABLE a",
	"SELECT $1::text, $2", "SELECT set_config('a.b', 'c', true)", "", " ;; -- nothing", "SELECT 'a", "SELECT $a$ b", "/* open",
}

var refused = []string{
	"COMMIT", " \v\f\r\n\tCOMMIT", "/**/COMMIT", "--\nCOMMIT", "--\rCOMMIT", ";;COMMIT", "cOmMiT AND CHAIN", "ABORT", "START TRANSACTION",
	"END", "ROLLBACK TO part", "SAVEPOINT a", "RELEASE part", "PREPARE TRANSACTION 'a'", "PREPARE a AS COMMIT", "EXECUTE a", "DEALLOCATE ALL",
	"SET synchronous_commit = off", "SET LOCAL synchronous_commit = off", "SET TRANSACTION READ WRITE", "RESET ALL", "DISCARD ALL",
	"LISTEN a", "UNLISTEN *", "LOAD 'a'", "COPY a TO PROGRAM 'b'", "VACUUM", "PRAGMA a", "ATTACH 'a' AS b", "DETACH b",
	"SELECT 1;COMMIT", "SELECT '\\';COMMIT--'", "SELECT U&'\\';COMMIT--'", "SELECT \"'\";COMMIT", "SELECT `;COMMIT",
	"SELECT E'\\\\';COMMIT", "SELECT E'a'\n'\\'';COMMIT--'", "SELECT E'a' -- b\n'\\'';COMMIT--'", "SELECT ee'\\';COMMIT--'",
	"SELECT $$;$$;COMMIT", "SELECT $a$ $b$ $a$;COMMIT--$b$", "SELECT $1$;COMMIT--$1$", "SELECT a$b$;COMMIT--$b$", "SELECT $ a$;COMMIT--$ a$",
	"/* /* */ */COMMIT", "SELECT 1+/**/2;COMMIT", "SELECT 1--'\n;COMMIT", "SELECT 1\x00; COMMIT",
}

func TestCheckLetsThroughWhatATransactionMayRun(t *testing.T) {
	for _, query := range allowed {
		if err := check(query); err != nil {
			t.Errorf("check(%q): %v", query, err)
		}
	}
}

func TestCheckRefusesWhatWouldEscape(t *testing.T) {
	for _, query := range refused {
		if err := check(query); !errors.Is(err, store.ErrForbidden) {
			t.Errorf("check(%q) = %v: want ErrForbidden", query, err)
		}
	}
}

// FuzzCheck runs what check lets through in a transaction of Postgres: the
// transaction must be open afterwards, whole or failed, whatever the query was.
func FuzzCheck(f *testing.F) {
	for _, query := range append(allowed, refused...) {
		f.Add(query)
	}
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, pgtest.Database(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = conn.Close(ctx) })
	if _, err := conn.Exec(ctx, "SET statement_timeout = '1s'; SET standard_conforming_strings = on"); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, query string) {
		if check(query) != nil {
			return
		}
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if _, err := conn.Exec(ctx, "BEGIN"); err != nil {
			t.Fatal(err)
		}
		_, queryErr := conn.Exec(ctx, query)
		if status := conn.PgConn().TxStatus(); status != 'T' && status != 'E' {
			t.Fatalf("%q ended the transaction (%v)", query, queryErr)
		}
		if _, err := conn.Exec(ctx, "ROLLBACK"); err != nil {
			t.Fatal(err)
		}
	})
}
