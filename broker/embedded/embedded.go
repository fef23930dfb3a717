package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"

	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/broker/nats"
	"github.com/argosy-go/argosy/internal/mutant"
)

// readyWithin bounds how long the server may take to start, which on a large
// directory includes reading its streams.
const readyWithin = time.Minute

// maxPayload is the largest message that the server takes.
const maxPayload = 8 << 20

// ErrInUse: another process, or another broker in this one, uses the directory.
var ErrInUse = errors.New("the broker's directory is in use")

// Opener starts the server in the folder "broker" of the data directory.
type Opener struct {
	// Listen is an address for other processes, as in "127.0.0.1:4222"; port 0
	// takes a free one. Empty: the server does not listen.
	Listen string
}

// Broker is a running server with a connection to it.
type Broker struct {
	*nats.Broker
	conn   *natsgo.Conn
	server *server.Server
	lock   *flock.Flock
	once   sync.Once
	closed error // what Close found
}

// Open implements broker.Opener.
func (o Opener) Open(ctx context.Context, open broker.OpenOptions) (broker.Broker, error) {
	dir := filepath.Join(open.Dir, "broker")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the broker's directory: %w", err)
	}
	lock := flock.New(filepath.Join(dir, "lock"))
	held, err := lock.TryLock()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), lock.Close())
	}
	if !held {
		_ = lock.Close() // there is nothing to release
		return nil, fmt.Errorf("%w: %s: stop the process that uses it, or give this one another data directory", ErrInUse, dir)
	}
	b := &Broker{lock: lock}
	if err := b.start(ctx, o, open, dir); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// start starts the server and connects to it.
func (b *Broker) start(ctx context.Context, o Opener, open broker.OpenOptions, dir string) error {
	opts, err := o.options(dir)
	if err != nil {
		return err
	}
	if b.server, err = server.NewServer(opts); err != nil {
		return fmt.Errorf("start the broker: %w", err)
	}
	log := &logger{log: open.Log}
	if log.log == nil {
		log.log = slog.New(slog.DiscardHandler)
	}
	b.server.SetLoggerV2(log, false, false, false)
	b.server.Start()
	if err := log.fatal.Load(); err != nil {
		return fmt.Errorf("start the broker: %w", *err)
	}
	if !b.server.ReadyForConnections(readyWithin) {
		return fmt.Errorf("the broker did not start within %s", readyWithin)
	}
	log.started.Store(true)
	b.conn, err = natsgo.Connect("", natsgo.InProcessServer(b.server), natsgo.Name(open.Name), natsgo.MaxReconnects(-1),
		natsgo.ErrorHandler(func(_ *natsgo.Conn, _ *natsgo.Subscription, err error) {
			log.log.Warn("the broker's client reports an error", "error", err)
		}))
	if err != nil {
		return fmt.Errorf("connect to the broker in this process: %w", err)
	}
	b.Broker, err = nats.New(ctx, b.conn, open)
	return err
}

// options are those of the server.
func (o Opener) options(dir string) (*server.Options, error) {
	opts := &server.Options{
		ServerName: "argosy", JetStream: true, StoreDir: dir, SyncAlways: !mutant.NoFsync, MaxPayload: maxPayload,
		NoSigs: true, DontListen: o.Listen == "",
	}
	if o.Listen == "" {
		return opts, nil
	}
	host, port, err := net.SplitHostPort(o.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", o.Listen, err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", o.Listen, err)
	}
	if opts.Host, opts.Port = host, int(n); n == 0 {
		opts.Port = server.RANDOM_PORT
	}
	return opts, nil
}

// InProcess reports that the broker is part of this process.
func (b *Broker) InProcess() bool { return true }

// URL returns where other processes reach the server, "" when it does not listen.
func (b *Broker) URL() string {
	if b.server.Addr() == nil {
		return ""
	}
	return b.server.ClientURL()
}

// Close implements broker.Broker: it closes the connection, then the server,
// which writes what it has not written yet. It is safe to call more than once.
func (b *Broker) Close() error {
	b.once.Do(func() {
		var errs []error
		if b.Broker != nil {
			errs = append(errs, b.Broker.Close())
		}
		if b.conn != nil {
			b.conn.Close()
		}
		if b.server != nil {
			b.server.Shutdown()
			b.server.WaitForShutdown()
		}
		b.closed = errors.Join(append(errs, b.lock.Close())...)
	})
	return b.closed
}
