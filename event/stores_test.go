package event_test

import (
	"os"
	"testing"

	"github.com/argosy-go/argosy/internal/pgtest"
	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/store/postgres"
	"github.com/argosy-go/argosy/store/sqlite"
)

func TestMain(m *testing.M) { os.Exit(pgtest.MainWithout(m)) }

// long reports whether the tests may take minutes: ARGOSY_LONG=1.
func long() bool { return os.Getenv("ARGOSY_LONG") == "1" }

// storeTest is a test on one kind of store. What it starts without naming a
// store lies in a database of its own.
type storeTest struct {
	testing.TB
	kind     store.Dialect
	database *string // of Postgres; made on first use
}

// kinds are the stores that there are.
func kinds() []store.Dialect {
	if pgtest.Available() {
		return []store.Dialect{store.SQLite, store.Postgres}
	}
	return []store.Dialect{store.SQLite}
}

// onEachStore runs a test on SQLite and on Postgres, beside other tests: most
// of them wait for a disk.
func onEachStore(t *testing.T, f func(t storeTest)) {
	t.Helper()
	t.Parallel()
	for _, kind := range kinds() {
		storeTest{TB: t, kind: kind}.Run(string(kind), f)
	}
}

// benchOnEachStore runs a benchmark on SQLite and on Postgres.
func benchOnEachStore(b *testing.B, f func(b *testing.B, t storeTest)) {
	b.Helper()
	for _, kind := range kinds() {
		b.Run(string(kind), func(b *testing.B) { f(b, storeTest{TB: b, kind: kind, database: new(string)}) })
	}
}

// Run runs a subtest with a database of its own.
func (t storeTest) Run(name string, f func(t storeTest)) {
	t.Helper()
	t.TB.(*testing.T).Run(name, func(inner *testing.T) {
		f(storeTest{TB: inner, kind: t.kind, database: new(string)})
	})
}

// opener returns what opens the store of a service, in a directory where it is a file.
func (t storeTest) opener(o *store.OpenOptions, dir string) store.Opener {
	if t.kind == store.SQLite {
		o.Dir = dir
		return sqlite.Opener{}
	}
	if *t.database == "" {
		*t.database = pgtest.Database(t)
	}
	o.URL = *t.database
	return postgres.Opener{}
}
