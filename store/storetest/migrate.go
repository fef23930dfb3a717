package storetest

import (
	"context"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/argosy-go/argosy/store"
)

// migrateRules: sets of migrations.
var migrateRules = []rule{
	{"a set is applied once, and what is new of it later", func(t *testing.T, f *fixture) {
		one := fstest.MapFS{"0001_a.sql": file("CREATE TABLE a (id BIGINT); INSERT INTO a VALUES (1);")}
		for range 2 {
			must(t, f.migrate(t, one, "a"), "a set that is up to date is left alone")
		}
		two := fstest.MapFS{"0001_a.sql": one["0001_a.sql"], "0002_b.sql": file("INSERT INTO a VALUES (2);")}
		must(t, f.migrate(t, two, "a"), "what is new of a set is applied")
		db := f.handle()
		f.openDB(t, db)
		var n int
		must(t, db.Read(t.Context(), func(ctx context.Context, q store.Querier) error {
			return q.QueryRowContext(ctx, "SELECT sum(id) FROM a").Scan(&n)
		}), "migrated tables are there")
		if n != 3 {
			t.Errorf("each migration is applied once: the sum is %d, want 3", n)
		}
	}},
	{"sets are independent of each other", func(t *testing.T, f *fixture) {
		must(t, f.migrate(t, fstest.MapFS{"0001_a.sql": file("CREATE TABLE a (id BIGINT);")}, "a"), "a set is applied")
		must(t, f.migrate(t, fstest.MapFS{"0001_b.sql": file("CREATE TABLE b (id BIGINT);")}, "b"), "another set with the same numbers is applied")
	}},
	{"an override for the dialect replaces the file, and others are left out", func(t *testing.T, f *fixture) {
		db := f.open(t)
		dialect := string(db.Dialect())
		must(t, db.Close(), "Close must succeed")
		must(t, f.migrate(t, fstest.MapFS{
			"0001_a.sql":                  file("not SQL at all;"),
			"0001_a." + dialect + ".sql":  file("CREATE TABLE a (id BIGINT);"),
			"0002_b.sql":                  file("CREATE TABLE b (id BIGINT);"),
			"0002_b." + other(dialect):    file("not SQL at all;"),
			"0003_only." + other(dialect): file("not SQL at all;"),
		}, "a"), "NNNN_name.<dialect>.sql replaces the file without dialect")
	}},
	{"a migration that fails changes nothing and keeps the store from opening", func(t *testing.T, f *fixture) {
		bad := fstest.MapFS{"0001_a.sql": file("CREATE TABLE a (id BIGINT); CREATE TABLE a (id BIGINT);")}
		if err := f.migrate(t, bad, "a"); err == nil {
			t.Error("a migration that fails is an error")
		}
		must(t, f.migrate(t, fstest.MapFS{"0001_a.sql": file("CREATE TABLE a (id BIGINT);")}, "a"), "a failed migration left nothing behind")
	}},
	{"files that are misnamed, empty or twice there are named in the error", func(t *testing.T, f *fixture) {
		good := file("CREATE TABLE a (id BIGINT);")
		for name, files := range map[string]fstest.MapFS{
			"first.sql":           {"first.sql": good},
			"1_short.sql":         {"1_short.sql": good},
			"0001_Upper Case.sql": {"0001_Upper Case.sql": good},
			"0001_a.oracle.sql":   {"0001_a.oracle.sql": good},
			"0001_empty.sql":      {"0001_empty.sql": {Data: []byte(" \n")}},
			"0001_noup.sql":       {"0001_noup.sql": {Data: []byte("CREATE TABLE a (id BIGINT);")}},
			"0001_twin.sql":       {"0001_a.sql": good, "0001_twin.sql": good},
			"0001_name":           {"readme.txt": good},
		} {
			if err := f.migrate(t, files, "a"); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("the error about %s names it: got %v", name, err)
			}
		}
	}},
	{"the files may lie in the only directory of an embed.FS", func(t *testing.T, f *fixture) {
		must(t, f.migrate(t, fstest.MapFS{"migrations/0001_a.sql": file("CREATE TABLE a (id BIGINT);")}, "a"), "a single directory is descended into")
	}},
}

// migrate opens the database with one set and closes it.
func (f *fixture) migrate(t *testing.T, files fs.FS, set string) error {
	t.Helper()
	db := f.handle()
	db.Migrations(set, files)
	if err := db.Open(t.Context(), f.target.Opener, f.target.Options); err != nil {
		return err
	}
	return db.Close()
}

func file(up string) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte("-- +goose Up\n" + up + "\n")}
}

// other returns the end of the name of a file for the dialect that it is not.
func other(dialect string) string {
	if dialect == string(store.Postgres) {
		return string(store.SQLite) + ".sql"
	}
	return string(store.Postgres) + ".sql"
}
