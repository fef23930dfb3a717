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
	"github.com/prometheus/client_golang/prometheus"

	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/broker/nats"
	"github.com/argosy-go/argosy/internal/mutant"
)

// readyWithin bounds how long the server may take to start, which on a large
// directory includes reading its streams.
const readyWithin = time.Minute

// How long the connection waits between attempts to reach a server that is
// started again, and how long that is waited for.
const (
	reconnectPause  = 20 * time.Millisecond
	reconnectWithin = 2 * time.Second
)

// maxPayload is the largest message that the server takes.
const maxPayload = 8 << 20

// maxStore is what the server may store: as much as the disk takes. Left to
// itself it takes three quarters of what is free as it starts for the limit,
// also when that is nothing and there is room a minute later.
const maxStore = 1 << 50

// ErrInUse: another process, or another broker in this one, uses the directory.
var ErrInUse = errors.New("the broker's directory is in use")

// Opener starts the server in the folder "broker" of the data directory.
type Opener struct {
	// Listen is an address for other processes, as in "127.0.0.1:4222"; port 0
	// takes a free one. Empty: the server does not listen.
	Listen string
	// pace is how the server is watched; nil: as usual.
	pace *pace
}

// Broker is a running server with a connection to it. A server that stores
// nothing any more, as after a full disk, is started again in place: who is
// connected is connected again, and what was acknowledged is there.
type Broker struct {
	*nats.Broker
	conn     *natsgo.Conn
	host     *host
	watch    *watch
	watching sync.WaitGroup
	unwatch  context.CancelFunc
	lock     *flock.Flock
	once     sync.Once
	closed   error // what Close found
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
	if open.Log == nil {
		open.Log = slog.New(slog.DiscardHandler)
	}
	b := &Broker{lock: lock, unwatch: func() {}}
	if err := b.start(ctx, o, open, dir); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// start starts the server, connects to it and watches it.
func (b *Broker) start(ctx context.Context, o Opener, open broker.OpenOptions, dir string) error {
	opts, err := o.options(dir)
	if err != nil {
		return err
	}
	b.watch = &watch{pace: ordinaryPace(), alarm: make(chan struct{}, 1), room: roomIn(dir)}
	if o.pace != nil {
		b.watch.pace = *o.pace
	}
	b.host = &host{opts: opts, log: open.Log, suspect: b.watch.suspect}
	if err := b.host.start(); err != nil {
		return err
	}
	b.conn, err = natsgo.Connect("", natsgo.InProcessServer(b.host), natsgo.Name(open.Name), natsgo.MaxReconnects(-1),
		natsgo.ReconnectWait(reconnectPause), natsgo.ReconnectBufSize(-1),
		natsgo.ErrorHandler(func(_ *natsgo.Conn, _ *natsgo.Subscription, err error) {
			open.Log.Warn("the broker's client reports an error", "error", err)
		}))
	if err != nil {
		return fmt.Errorf("connect to the broker in this process: %w", err)
	}
	if b.Broker, err = nats.New(ctx, b.conn, open); err != nil {
		return err
	}
	b.watch.probe, b.watch.events = b.Broker.Probe, b.Broker.ProbeEvents
	b.watch.restart = b.restart
	b.watch.report = func(restarts int64, err error) {
		if err != nil {
			open.Log.Error("the broker stores nothing, and does not start again; it is tried again", "error", err)
			return
		}
		open.Log.Warn("the broker stored nothing any more and was started again", "restarts", restarts)
	}
	watched, unwatch := context.WithCancel(context.Background())
	b.unwatch = unwatch
	b.watching.Go(func() { b.watch.run(watched) })
	return nil
}

// restart starts the server again and waits a while until this process is
// connected to it, so that the next probe is of the new server.
func (b *Broker) restart() error {
	back := b.conn.StatusChanged(natsgo.CONNECTED)
	defer b.conn.RemoveStatusListener(back)
	if err := b.host.restart(); err != nil {
		return err
	}
	select {
	case <-back:
	case <-time.After(reconnectWithin): // then the probes say so
	}
	return nil
}

// Publish implements broker.Broker.
func (b *Broker) Publish(ctx context.Context, messages []broker.Message) []error {
	errs := b.Broker.Publish(ctx, messages)
	if errs != nil && errors.Is(errors.Join(errs...), broker.ErrUnavailable) {
		b.watch.suspect()
	}
	return errs
}

// Probe implements broker.Broker. While there is reason to doubt that events
// are stored, it stores one.
func (b *Broker) Probe(ctx context.Context) error {
	if err := b.Broker.Probe(ctx); err != nil || !b.watch.doubted.Load() {
		return err
	}
	return b.Broker.ProbeEvents(ctx)
}

// Restarts returns how often the server was started again because it stored
// nothing any more.
func (b *Broker) Restarts() int64 { return b.watch.restarts.Load() }

// options are those of the server.
func (o Opener) options(dir string) (*server.Options, error) {
	opts := &server.Options{
		ServerName: "argosy", JetStream: true, StoreDir: dir, SyncAlways: !mutant.NoFsync, MaxPayload: maxPayload,
		NoSigs: true, DontListen: o.Listen == "", JetStreamMaxStore: maxStore,
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

// restarts is what a broker tells its monitoring.
func restarts() *prometheus.Desc {
	return prometheus.NewDesc("argosy_broker_restarts_total", "How often the embedded broker was started again because it stored nothing any more.", nil, nil)
}

// Describe implements prometheus.Collector.
func (b *Broker) Describe(to chan<- *prometheus.Desc) { to <- restarts() }

// Collect implements prometheus.Collector.
func (b *Broker) Collect(to chan<- prometheus.Metric) {
	to <- prometheus.MustNewConstMetric(restarts(), prometheus.CounterValue, float64(b.Restarts()))
}

// URL returns where other processes reach the server, "" when it does not listen.
func (b *Broker) URL() string { return b.host.url() }

// Close implements broker.Broker: it closes the connection, then the server,
// which writes what it has not written yet. It is safe to call more than once.
func (b *Broker) Close() error {
	b.once.Do(func() {
		var errs []error
		b.unwatch()
		b.watching.Wait()
		if b.Broker != nil {
			errs = append(errs, b.Broker.Close())
		}
		if b.conn != nil {
			b.conn.Close()
		}
		if b.host != nil {
			b.host.stop()
		}
		b.closed = errors.Join(append(errs, b.lock.Close())...)
	})
	return b.closed
}
