package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/argosy-go/argosy/store"
)

// Opener opens schemas of a Postgres server. Its zero value is ready to use.
type Opener struct {
	// MaxConns is how many connections a replica of a service has at most, for
	// writes and reads together; it has one more on which it listens. Zero: 3,
	// so that two replicas of each of ten services take 80 of the 100 that a
	// server has unless it is told otherwise. The URL's pool_max_conns goes
	// before it.
	MaxConns int
	// AcquireTimeout is how long a call waits for a connection before it is
	// refused with UNAVAILABLE. Zero: 5 s. Work for which nobody waits, as that
	// of sagas and consumers, is not refused ([store.Background]).
	AcquireTimeout time.Duration
	// IdleTimeout is how long a transaction may go without a statement before
	// the server revokes it, whether or not others wait for its locks: a
	// process that was suspended in a transaction must not keep them. Zero:
	// 10 s. ([store.OpenOptions.IdleLimit] is for stores with one writer.)
	IdleTimeout time.Duration
}

var _ store.Opener = Opener{}

const (
	defaultMaxConns       = 3
	defaultAcquireTimeout = 5 * time.Second
	defaultIdleTimeout    = 10 * time.Second
	// unheard is how long the network may keep silent about what was sent
	// before the connection is given up.
	unheard = 10 * time.Second
	// ownTimeout bounds what the engine itself says to the server: BEGIN,
	// COMMIT, ROLLBACK, savepoints.
	ownTimeout = 30 * time.Second
)

var levels = map[store.Isolation]string{
	store.Serializable:   "SERIALIZABLE",
	store.RepeatableRead: "REPEATABLE READ",
	store.ReadCommitted:  "READ COMMITTED",
}

// servicePlaceholder stands for the service's name in the path of a URL.
const servicePlaceholder = "{service}"

// Schema returns the name of a service's schema: that of the service, with
// underscores for hyphens.
func Schema(service string) string { return strings.ReplaceAll(service, "-", "_") }

// Open opens the schema of a service, and makes it when it is not there.
//
// The URL is one that libpq takes, as in
// "postgres://user:password@host:5432/database?sslmode=verify-full". Where its
// path is "/{service}", each service has the database of its name (again with
// underscores for hyphens), which must exist; in it too its tables lie in the
// service's schema, so that both ways of laying out a fleet are dumped and
// restored alike.
//
// Parameters of the URL that libpq does not know: pool_max_conns goes before
// MaxConns, and pool_max_conn_lifetime (1h) and pool_max_conn_idle_time (30m)
// say when connections are replaced.
//
// A server that acknowledges what a crash takes back is refused, at Open and on
// every new connection: fsync, full_page_writes or synchronous_commit off, or
// synchronous_commit local. So is a database that is not in UTF-8.
func (o Opener) Open(ctx context.Context, opts store.OpenOptions) (store.Engine, error) {
	e, err := o.connect(ctx, opts)
	if err != nil {
		return nil, err
	}
	if err := e.prepare(ctx); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// connect makes the engine of a schema, which need not be there.
func (o Opener) connect(ctx context.Context, opts store.OpenOptions) (*engine, error) {
	o.MaxConns = cmp.Or(max(o.MaxConns, 0), defaultMaxConns)
	o.AcquireTimeout = cmp.Or(max(o.AcquireTimeout, 0), defaultAcquireTimeout)
	o.IdleTimeout = cmp.Or(max(o.IdleTimeout, 0), defaultIdleTimeout)
	level, ok := levels[opts.Isolation]
	if !ok {
		return nil, fmt.Errorf("postgres: there is no isolation level %d", opts.Isolation)
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	config, err := o.config(opts)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	return &engine{
		schema: Schema(opts.Service), pool: pool, connect: stdlib.GetPoolConnector(pool),
		begin: "BEGIN ISOLATION LEVEL " + level, acquireTimeout: o.AcquireTimeout,
		facades: newFacades(o.MaxConns), background: make(chan struct{}, 1), turn: make(chan struct{}, 1), log: opts.Log,
		notifier: newNotifier(config.ConnConfig, Schema(opts.Service), opts.Log),
	}, nil
}

// config turns the options into those of a pool.
func (o Opener) config(opts store.OpenOptions) (*pgxpool.Config, error) {
	if opts.Service == "" || opts.URL == "" {
		return nil, errors.New("the name of the service and the URL of the server are needed")
	}
	schema := Schema(opts.Service)
	text := strings.ReplaceAll(opts.URL, servicePlaceholder, schema)
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("the URL of the server cannot be read: it is like postgres://user:password@host/database")
	}
	config, err := pgxpool.ParseConfig(text)
	if err != nil {
		return nil, fmt.Errorf("the URL %s: %w", u.Redacted(), err)
	}
	if !u.Query().Has("pool_max_conns") {
		config.MaxConns = int32(min(o.MaxConns, 10_000))
	}
	c := config.ConnConfig
	if _, ok := c.RuntimeParams["search_path"]; ok {
		return nil, fmt.Errorf("the URL %s sets search_path: it is the schema %s, by the name of the service", u.Redacted(), schema)
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "argosy " + opts.Service
	}
	c.RuntimeParams["search_path"] = pgx.Identifier{schema}.Sanitize()
	c.RuntimeParams["standard_conforming_strings"] = "on" // the reading of statements relies on it
	c.RuntimeParams["idle_in_transaction_session_timeout"] = fmt.Sprint(max(1, o.IdleTimeout.Milliseconds()))
	// The same for both ends: a server that lost its client must let go of its locks.
	c.RuntimeParams["tcp_keepalives_idle"] = "5"
	c.RuntimeParams["tcp_keepalives_interval"] = "2"
	c.RuntimeParams["tcp_keepalives_count"] = "3"
	c.DialFunc = (&net.Dialer{Control: giveUpAfter(unheard), KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3,
	}}).DialContext
	// A context that ends stops its statement, and not the connection.
	c.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: 5 * time.Second}
	}
	config.AfterConnect = checkServer
	return config, nil
}
