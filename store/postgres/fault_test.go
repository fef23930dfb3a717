package postgres_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/internal/pgtest"
	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/store/postgres"
)

const insert = "INSERT INTO t (a, b) VALUES ($1, 'b')"

func put(a int) func(context.Context, *store.Tx) error {
	return func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.ExecContext(ctx, insert, a)
		return err
	}
}

func count(t *testing.T, db *store.DB) (n int) {
	t.Helper()
	err := db.Read(t.Context(), func(ctx context.Context, q store.Querier) error {
		return q.QueryRowContext(ctx, "SELECT count(*) FROM t").Scan(&n)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// killMe ends the server's side of the connection that a transaction is on.
const killMe = "SELECT pg_terminate_backend(pg_backend_pid())"

func TestAFunctionRunsAgainWhenTheConnectionIsLostBeforeTheCommit(t *testing.T) {
	db := openDB(t, postgres.Opener{}, pgtest.Database(t), table)
	runs := 0
	err := db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		if err := put(1)(ctx, tx); err != nil {
			return err
		}
		if runs++; runs == 1 {
			_ = tx.Try(ctx, func(ctx context.Context, tx *store.Tx) error {
				_, err := tx.ExecContext(ctx, killMe)
				return err
			})
		}
		return nil
	})
	if n := count(t, db); err != nil || runs != 2 || n != 1 {
		t.Errorf("%v after %d runs, %d rows: want two runs and one row", err, runs, n)
	}
}

func TestADeadlockIsRunAgain(t *testing.T) {
	db := openDB(t, postgres.Opener{}, pgtest.Database(t), table)
	for a := range 2 {
		if err := db.Do(t.Context(), put(a)); err != nil {
			t.Fatal(err)
		}
	}
	var both sync.WaitGroup // each holds its first row
	both.Add(2)
	var wg sync.WaitGroup
	var runs atomic.Int64
	for first := range 2 {
		wg.Go(func() {
			once := sync.OnceFunc(func() { both.Done(); both.Wait() })
			err := db.Do(context.Background(), func(ctx context.Context, tx *store.Tx) error {
				runs.Add(1)
				for i := range 2 {
					if _, err := tx.ExecContext(ctx, "UPDATE t SET b = b || 'x' WHERE a = $1", (first+i)%2); err != nil {
						return errors.New("a reason that hides the cause")
					}
					once()
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if runs.Load() < 3 {
		t.Errorf("%d runs: there was no deadlock", runs.Load())
	}
}

func TestWriteSkewIsNotPossible(t *testing.T) {
	db := openDB(t, postgres.Opener{}, pgtest.Database(t), table)
	var both, wg sync.WaitGroup
	both.Add(2)
	for a := range 2 { // each inserts only where it finds none
		wg.Go(func() {
			once := sync.OnceFunc(func() { both.Done(); both.Wait() })
			err := db.Do(context.Background(), func(ctx context.Context, tx *store.Tx) error {
				var n int
				if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM t").Scan(&n); err != nil {
					return err
				}
				once()
				if n > 0 {
					return nil
				}
				return put(a)(ctx, tx)
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := count(t, db); n != 1 {
		t.Errorf("%d rows: transactions are serializable, so it is one", n)
	}
}

// proxy passes connections on to the server, until it is told to cut those
// that send COMMIT: before or after the server has got it.
type proxy struct {
	server string
	listen net.Listener
	cut    atomic.Int32
	refuse atomic.Bool // new connections
	wg     sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
}

const (
	cutBefore = 1
	cutAfter  = 2
)

// newProxy returns a proxy and the URL through it.
func newProxy(t *testing.T, text string) (*proxy, string) {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	p := &proxy{server: u.Host, conns: map[net.Conn]bool{}}
	if dir := query.Get("host"); dir != "" {
		p.server = dir + "/.s.PGSQL.5432"
		query.Del("host")
		u.RawQuery = query.Encode()
	} else if u.Port() == "" {
		p.server = net.JoinHostPort(u.Hostname(), "5432")
	}
	if p.listen, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	u.Host = p.listen.Addr().String()
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		_ = p.listen.Close()
		p.wg.Wait()
	})
	return p, u.String()
}

func (p *proxy) accept() {
	for {
		client, err := p.listen.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.serve(client) })
	}
}

// cutAll ends all connections.
func (p *proxy) cutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *proxy) serve(client net.Conn) {
	p.mu.Lock()
	p.conns[client] = true
	p.mu.Unlock()
	defer func() {
		_ = client.Close()
		p.mu.Lock()
		delete(p.conns, client)
		p.mu.Unlock()
	}()
	if p.refuse.Load() {
		return
	}
	network := "tcp"
	if strings.HasPrefix(p.server, "/") {
		network = "unix"
	}
	server, err := net.Dial(network, p.server)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	p.wg.Go(func() {
		_, _ = io.Copy(client, server)
		_ = client.Close()
	})
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		cut := int32(0)
		if strings.Contains(string(buf[:n]), "COMMIT") {
			cut = p.cut.Swap(0)
		}
		if cut == cutBefore {
			return
		}
		if cut == cutAfter { // the server gets it, and nobody its answer
			_ = client.Close()
		}
		if _, err := server.Write(buf[:n]); err != nil {
			return
		}
	}
}

func TestALostCommitIsUnknown(t *testing.T) {
	for name, cut := range map[string]int32{"before the server got it": cutBefore, "after the server got it": cutAfter} {
		t.Run(name, func(t *testing.T) {
			p, url := newProxy(t, pgtest.Database(t))
			db := openDB(t, postgres.Opener{}, url, table)
			p.cut.Store(cut)
			runs := 0
			err := db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
				runs++
				return put(1)(ctx, tx)
			})
			if !errors.Is(err, store.ErrUnknown) || fault.From(err).NotDone || runs != 1 {
				t.Errorf("after %d runs %v: want ErrUnknown, which does not say that nothing was done, and one run", runs, err)
			}
			if err := db.Do(t.Context(), put(2)); err != nil {
				t.Errorf("the engine works on: %v", err)
			}
		})
	}
}

func TestIdleConnectionsThatDiedAreReplaced(t *testing.T) {
	url := pgtest.Database(t)
	db := openDB(t, postgres.Opener{}, url, table)
	pgtest.Exec(t, url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'argosy %' AND datname = current_database()")
	if err := db.Do(t.Context(), put(1)); err != nil {
		t.Error(err)
	}
}

func TestWhoFindsNoFreeConnectionIsRefused(t *testing.T) {
	t.Parallel()
	db := openDB(t, postgres.Opener{MaxConns: 1, AcquireTimeout: time.Second}, pgtest.Database(t), table)
	err := db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		err := db.Read(t.Context(), func(context.Context, store.Querier) error { return nil })
		if e := fault.From(err); e.Code != codes.Unavailable || !e.NotDone || e.Reason != "STORE_POOL_EXHAUSTED" {
			t.Errorf("got %v: want UNAVAILABLE, with nothing done", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestBackgroundWorkWaitsForAConnection keeps the only connection for longer
// than callers wait for it.
func TestBackgroundWorkWaitsForAConnection(t *testing.T) {
	t.Parallel()
	db := openDB(t, postgres.Opener{MaxConns: 1, AcquireTimeout: time.Second}, pgtest.Database(t), table)
	ended, end := context.WithCancel(t.Context())
	var work sync.WaitGroup
	err := db.Do(t.Context(), func(context.Context, *store.Tx) error {
		for n := range 20 {
			work.Go(func() {
				if err := db.Do(store.Background(t.Context()), put(n)); err != nil {
					t.Errorf("work in the background: %v", err)
				}
			})
		}
		// Until he is refused is as long as it takes.
		if e := fault.From(db.Do(t.Context(), put(99))); e == nil || e.Reason != "STORE_POOL_EXHAUSTED" {
			t.Errorf("a caller got %v", e)
		}
		work.Go(func() {
			if err := db.Do(store.Background(ended), put(99)); !errors.Is(err, context.Canceled) {
				t.Errorf("work whose context has ended got %v", err)
			}
		})
		end()
		return nil
	})
	work.Wait()
	if n := count(t, db); err != nil || n != 20 {
		t.Errorf("%d of 20 wrote (%v)", n, err)
	}
}

func TestATransactionThatIdlesIsRevokedByTheServer(t *testing.T) {
	url := pgtest.Database(t)
	db := openDB(t, postgres.Opener{IdleTimeout: 50 * time.Millisecond}, url, table)
	watch := openDB(t, postgres.Opener{}, url)
	err := db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		var pid int
		if err := tx.QueryRowContext(ctx, "SELECT pg_backend_pid()").Scan(&pid); err != nil {
			return err
		}
		for there := true; there; { // until the server has ended the session
			err := watch.Read(t.Context(), func(ctx context.Context, q store.Querier) error {
				return q.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)", pid).Scan(&there)
			})
			if err != nil {
				return err
			}
		}
		return put(1)(ctx, tx)
	})
	if !errors.Is(err, store.ErrRevoked) {
		t.Errorf("got %v: want ErrRevoked", err)
	}
	if n := count(t, db); n != 0 {
		t.Errorf("a revoked transaction wrote %d rows", n)
	}
}

// TestAStatementThatIsCanceledByMistakeRunsAgain cancels a statement as the late
// cancellation of an earlier one on the same connection does.
func TestAStatementThatIsCanceledByMistakeRunsAgain(t *testing.T) {
	url := pgtest.Database(t)
	db, watch := openDB(t, postgres.Opener{}, url, table), openDB(t, postgres.Opener{}, url)
	runs := 0
	var canceler sync.WaitGroup
	err := db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		if runs++; runs > 1 {
			return put(1)(ctx, tx)
		}
		var pid int
		if err := tx.QueryRowContext(ctx, "SELECT pg_backend_pid()").Scan(&pid); err != nil {
			return err
		}
		canceler.Go(func() {
			for done := false; !done; { // once the statement runs
				err := watch.Read(t.Context(), func(ctx context.Context, q store.Querier) error {
					return q.QueryRowContext(ctx, `SELECT coalesce(bool_or(pg_cancel_backend(pid)), false) FROM pg_stat_activity
						WHERE pid = $1 AND state = 'active' AND query LIKE '%pg_sleep%'`, pid).Scan(&done)
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
		_, err := tx.ExecContext(ctx, "SELECT pg_sleep(60)")
		return err
	})
	canceler.Wait()
	if err != nil || runs != 2 {
		t.Errorf("after %d runs: %v", runs, err)
	}
	if n := count(t, db); n != 1 {
		t.Errorf("%d rows", n)
	}
}

func TestProcessesThatStartTogetherMigrateOnce(t *testing.T) {
	url := pgtest.Database(t)
	files := fstest.MapFS{
		"0001_t.sql": table["0001_t.sql"],
		"0002_i.sql": {Data: []byte("-- +goose NO TRANSACTION\n-- +goose Up\nCREATE INDEX CONCURRENTLY t_a ON t (a);\n")},
		"0003_r.sql": {Data: []byte("-- +goose Up\nINSERT INTO t (a, b) VALUES (1, 'once');\n")},
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { openDB(t, postgres.Opener{}, url, files) })
	}
	wg.Wait()
	if n := count(t, openDB(t, postgres.Opener{}, url)); n != 1 {
		t.Errorf("the migration that inserts a row was applied %d times", n)
	}
}

func TestWhatCannotBeOpenedSaysWhy(t *testing.T) {
	good := pgtest.Database(t)
	u, err := url.Parse(good)
	if err != nil {
		t.Fatal(err)
	}
	with := func(key, value string) string {
		v, query := *u, u.Query()
		query.Set(key, value)
		v.RawQuery = query.Encode()
		return v.String()
	}
	perService := *u
	perService.Path = "/{service}"
	for name, tt := range map[string]struct {
		url, want string
		level     store.Isolation
	}{
		"commits that a crash takes back": {with("synchronous_commit", "off"), "synchronous_commit is off", 0},
		"a search path":                   {with("search_path", "public"), "the schema an_order", 0},
		"no URL":                          {"", "URL of the server", 0},
		"a URL that is none":              {"postgres://user:secret@a b/", "postgres://user:password@host/database", 0},
		"a level that there is not":       {good, "isolation level", 99},
		"no database for the service":     {strings.ReplaceAll(strings.ReplaceAll(perService.String(), "%7B", "{"), "%7D", "}"), "an_order", 0},
	} {
		t.Run(name, func(t *testing.T) {
			db := store.NewDB("an-order")
			db.Isolation(tt.level)
			err := db.Open(t.Context(), postgres.Opener{}, store.OpenOptions{URL: tt.url})
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v: want %q in it", err, tt.want)
			}
		})
	}
}
