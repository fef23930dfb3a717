package saga

import (
	"context"
	"crypto/rand"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/argosy-go/argosy/internal/pgtest"
	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/store/postgres"
	"github.com/argosy-go/argosy/store/sqlite"
)

func TestMain(m *testing.M) { os.Exit(pgtest.MainWithout(m)) }

// storeTest is a test on one kind of store.
type storeTest struct {
	testing.TB
	kind   store.Dialect
	server *server
}

// server is the database of a test on Postgres. A directory, which is a store
// of its own on SQLite, is a schema in it.
type server struct {
	url     string
	mu      sync.Mutex
	schemas map[string]string
}

// onEachStore runs a test on SQLite and, where there is a server, on Postgres.
func onEachStore(t *testing.T, f func(t storeTest)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { f(newStoreTest(t, store.SQLite)) })
	onPostgres(t, f)
}

// onPostgres runs a test on a store that several processes share.
func onPostgres(t *testing.T, f func(t storeTest)) {
	t.Helper()
	if pgtest.Available() {
		t.Run("postgres", func(t *testing.T) { f(newStoreTest(t, store.Postgres)) })
	}
}

func newStoreTest(t testing.TB, kind store.Dialect) storeTest {
	s := storeTest{TB: t, kind: kind, server: &server{schemas: map[string]string{}}}
	if kind == store.Postgres {
		s.server.url = pgtest.Database(t)
	}
	return s
}

// Run runs a subtest on the same kind of store.
func (t storeTest) Run(name string, f func(t storeTest)) {
	t.Helper()
	t.TB.(*testing.T).Run(name, func(inner *testing.T) { f(storeTest{inner, t.kind, t.server}) })
}

// Parallel makes the subtest run beside others.
func (t storeTest) Parallel() { t.TB.(*testing.T).Parallel() }

// Open opens the store of a service, as an opener of the kind does.
func (t storeTest) Open(ctx context.Context, o store.OpenOptions) (store.Engine, error) {
	if t.kind == store.SQLite {
		return sqlite.Opener{}.Open(ctx, o)
	}
	o.URL, o.Service = t.server.url, t.server.schema(o.Dir)
	return postgres.Opener{}.Open(ctx, o)
}

func (s *server) schema(dir string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.schemas[dir] == "" {
		s.schemas[dir] = "t" + strings.ToLower(rand.Text())
	}
	return s.schemas[dir]
}
