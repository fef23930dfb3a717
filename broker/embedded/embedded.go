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
}

// Open implements broker.Opener.
func (o Opener) Open(ctx context.Context, open broker.OpenOptions) (broker.Broker, error) {
	dir := filepath.Join(open.Dir, "broker")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock := flock.New(filepath.Join(dir, "lock"))
	held, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	if !held {
		return nil, fmt.Errorf("the broker's directory %s is in use by another process: stop that one, or give this one another data directory", dir)
	}
	b := &Broker{lock: lock}
	if err := b.start(ctx, o, open, dir); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// start starts the server and connects to it.
func (b *Broker) start(ctx context.Context, o Opener, open broker.OpenOptions, dir string) error {
	opts := &server.Options{
		ServerName: "argosy", JetStream: true, StoreDir: dir, SyncAlways: !mutant.NoFsync, MaxPayload: maxPayload,
		NoSigs: true, DontListen: o.Listen == "",
	}
	if o.Listen != "" {
		host, port, err := net.SplitHostPort(o.Listen)
		if err != nil {
			return fmt.Errorf("listen on %q: %w", o.Listen, err)
		}
		if opts.Port, err = strconv.Atoi(port); err != nil {
			return fmt.Errorf("listen on %q: %w", o.Listen, err)
		}
		if opts.Host = host; opts.Port == 0 {
			opts.Port = server.RANDOM_PORT
		}
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	b.server = s
	log := open.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s.SetLoggerV2(&logger{log}, false, false, false)
	s.Start()
	if !s.ReadyForConnections(readyWithin) {
		return errors.New("the broker did not start in time")
	}
	if b.conn, err = natsgo.Connect("", natsgo.InProcessServer(s), natsgo.Name(open.Name), natsgo.MaxReconnects(-1)); err != nil {
		return fmt.Errorf("connect to the broker in this process: %w", err)
	}
	b.Broker, err = nats.New(ctx, b.conn, open)
	return err
}

// URL returns where other processes reach the server, "" when it does not listen.
func (b *Broker) URL() string {
	if b.server.Addr() == nil {
		return ""
	}
	return b.server.ClientURL()
}

// Close implements broker.Broker: it closes the connection, then the server.
func (b *Broker) Close() error {
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
	return errors.Join(append(errs, b.lock.Unlock())...)
}

// logger passes the server's log on: its notices are of interest to who
// debugs, its warnings and errors to who operates.
type logger struct{ log *slog.Logger }

func (l *logger) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *logger) Warnf(format string, v ...any)   { l.log.Warn(fmt.Sprintf(format, v...)) }
func (l *logger) Fatalf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }
func (l *logger) Errorf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }
func (l *logger) Debugf(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *logger) Tracef(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
