package saga

import (
	"context"
	"crypto/rand"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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
	stores *stores
}

// stores are those that a test has opened: by directory, which is a schema on
// Postgres.
type stores struct {
	url   string // of the test's database on Postgres
	mu    sync.Mutex
	sites map[string]*site
}

// site is where the processes of a service have their store one after the
// other. A crash puts its clock forward: nobody waits for the lease of the dead.
type site struct {
	schema string
	ahead  atomic.Int64
}

func (p *site) now() time.Time       { return time.Now().Add(time.Duration(p.ahead.Load())) }
func (p *site) skip(d time.Duration) { p.ahead.Add(int64(d)) }

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
	s := storeTest{TB: t, kind: kind, stores: &stores{sites: map[string]*site{}}}
	if kind == store.Postgres {
		s.stores.url = pgtest.Database(t)
	}
	return s
}

// Run runs a subtest on the same kind of store.
func (t storeTest) Run(name string, f func(t storeTest)) {
	t.Helper()
	t.TB.(*testing.T).Run(name, func(inner *testing.T) { f(storeTest{inner, t.kind, t.stores}) })
}

// Parallel makes the subtest run beside others.
func (t storeTest) Parallel() { t.TB.(*testing.T).Parallel() }

// Open opens the store of a service, as an opener of the kind does.
func (t storeTest) Open(ctx context.Context, o store.OpenOptions) (store.Engine, error) {
	if t.kind == store.SQLite {
		return sqlite.Opener{}.Open(ctx, o)
	}
	o.URL, o.Service = t.stores.url, t.stores.at(o.Dir).schema
	return postgres.Opener{}.Open(ctx, o)
}

func (s *stores) at(dir string) *site {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sites[dir] == nil {
		s.sites[dir] = &site{schema: "t" + strings.ToLower(rand.Text())}
	}
	return s.sites[dir]
}
