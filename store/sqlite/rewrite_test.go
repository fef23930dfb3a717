package sqlite

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/argosy-go/argosy/store"
)

func TestRewrite(t *testing.T) {
	tests := []struct {
		name, query, want string
		params            int
		single            bool
	}{
		{"numbers keep their meaning", "SELECT $2, $1, $10", "SELECT ?2, ?1, ?10", 10, true},
		{"strings are left alone", "SELECT '$1', 'it''s $2', $3", "SELECT '$1', 'it''s $2', ?3", 3, true},
		{"quoted identifiers are left alone", "SELECT \"$1\"\"$2\", `a``$3`, [$4], $1", "SELECT \"$1\"\"$2\", `a``$3`, [$4], ?1", 1, true},
		{"comments are left alone", "SELECT $1 -- $2\n, /* $3 ' */ $2", "SELECT ?1 -- $2\n, /* $3 ' */ ?2", 2, true},
		{"a dollar in an identifier is part of it", "SELECT a$1 FROM b", "SELECT a$1 FROM b", 0, true},
		{"an unclosed string ends with the query", "SELECT 'a $1", "SELECT 'a $1", 0, true},
		{"a semicolon at the end makes no second statement", "SELECT 1 ; ; -- done", "SELECT 1 ; ; -- done", 0, true},
		{"two statements are two", "SELECT 1; SELECT $1", "SELECT 1; SELECT ?1", 1, false},
		{"a trigger is one statement", "CREATE TEMP TRIGGER a AFTER INSERT ON b BEGIN UPDATE b SET c = CASE WHEN 1 THEN 2 END; SELECT 1; END;", "CREATE TEMP TRIGGER a AFTER INSERT ON b BEGIN UPDATE b SET c = CASE WHEN 1 THEN 2 END; SELECT 1; END;", 0, true},
		{"a cast of Postgres is not a placeholder", "SELECT a::text", "SELECT a::text", 0, true},
		{"forbidden words may be names", `SELECT "commit", a.rollback FROM a`, `SELECT "commit", a.rollback FROM a`, 0, true},
		{"nothing is nothing", " -- nothing", " -- nothing", 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := rewrite(tt.query)
			if err != nil {
				t.Fatal(err)
			}
			if got.text != tt.want || got.params != tt.params || got.single != tt.single {
				t.Errorf("rewrite(%q) = %+v, want %q, %d, %v", tt.query, got, tt.want, tt.params, tt.single)
			}
		})
	}
}

var refused = []string{
	"COMMIT", "\uFEFFCOMMIT", " \v\f\r\n\tCOMMIT", "/**/COMMIT", "--\nCOMMIT", ";;COMMIT", "cOmMiT TRANSACTION",
	"SELECT 1;COMMIT", "SELECT '\\';COMMIT--'", "SELECT [a'];COMMIT", "SELECT \"'\";COMMIT", "SELECT `'`;COMMIT",
	"CREATE TRIGGER a AFTER INSERT ON b BEGIN SELECT 1; END; COMMIT",
	"CREATE TRIGGER a AFTER INSERT ON b BEGIN SELECT 1; END;END",
	"INSERT OR ROLLBACK INTO a VALUES (1)", "UPDATE OR /**/ rollback a SET b = 1",
	"SELECT ?", "SELECT ?1", "SELECT :a", "SELECT @a", "SELECT $a", "SELECT $1a", "SELECT $", "SELECT #1", "SELECT :::a(');COMMIT--'", "SELECT $::a(');COMMIT--'",
	"SELECT $0", "SELECT $01", "SELECT $32767", "SELECT $99999999999999999999", "SELECT 1\x00; COMMIT",
}

func TestRewriteRefuses(t *testing.T) {
	for _, query := range refused {
		if got, err := rewrite(query); !errors.Is(err, store.ErrForbidden) {
			t.Errorf("rewrite(%q) = %+v, %v: want ErrForbidden", query, got, err)
		}
	}
}

// FuzzRewrite runs what rewrite lets through in a transaction of SQLite: the
// transaction must be open afterwards, whatever the query was.
func FuzzRewrite(f *testing.F) {
	for _, query := range refused {
		f.Add(query)
	}
	for _, query := range []string{
		"SELECT $2, $1", "INSERT INTO t VALUES ($1, 'it''s')", "CREATE TRIGGER a AFTER INSERT ON t BEGIN DELETE FROM t; END",
		"SELECT 1 -- ;\n;SELECT 2", "SELECT x'00' /* ; */", "EXPLAIN COMMIT", "SELECT a->>'$.b' FROM t", "WITH a AS (SELECT 1) SELECT * FROM a",
	} {
		f.Add(query)
	}
	r, err := openRaw(context.Background(), ":memory:", "memory", nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = r.close() })
	if err := r.do("CREATE TABLE t (a INTEGER, b TEXT)"); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, query string) {
		q, err := rewrite(query)
		if err != nil || strings.Contains(strings.ToUpper(query), "RECURSIVE") { // may run for ever
			return
		}
		if q.params == 0 && q.text != query {
			t.Fatalf("rewrite(%q) changed a query without placeholders to %q", query, q.text)
		}
		if err := r.do("BEGIN"); err != nil {
			t.Fatal(err)
		}
		_, execErr := r.conn.ExecContext(context.Background(), q.text, nil)
		if err := r.do("ROLLBACK"); err != nil {
			t.Fatalf("%q ended the transaction (%v): %v", query, execErr, err)
		}
	})
}
