package argosy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/discovery"
	"github.com/argosy-go/argosy/guard"
	"github.com/argosy-go/argosy/idempotency"
	"github.com/argosy-go/argosy/rpc"
	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/telemetry"
)

// Fleet is a running program.
type Fleet struct {
	program   Program
	begun     time.Time
	set       settings
	tel       *telemetry.Telemetry
	every     []*service.Setup  // of the whole program
	services  []*service.Setup  // that this process runs
	owners    map[string]string // contract to service, of the whole program
	broker    broker.Broker
	signer    *auth.Signer
	callers   auth.Authenticator // of whoever calls from outside
	keeper    *keeperElsewhere   // nil: the API keys are kept here, or nowhere
	tls       *auth.TLS          // nil: processes talk in the clear
	server    *rpc.Server
	clients   []*rpc.Client // in the order of declaration; those of the edge follow
	peers     []func() error
	endpoints []*rpc.Endpoints    // of the connections to services elsewhere
	discovery discovery.Discovery // nil: none is set
	leases    []discovery.Lease
	lines     lines
	http      *drainable
	admin     *drainable
	serving   sync.WaitGroup
	workers   *workers
	ready     atomic.Bool
	failed    chan struct{}
	failOnce  sync.Once
	failure   atomic.Pointer[error]
	closers   []closer
	stopOnce  sync.Once
	stopErr   error
}

// closer undoes one step of the start.
type closer struct {
	what  string
	close func(ctx context.Context) error
}

// Start starts the program and returns when it is ready: stores and broker
// open, migrations applied, start hooks done, listeners accepting. ctx bounds
// the start only. When it fails, everything that was opened is closed again.
func Start(ctx context.Context, p Program) (*Fleet, error) {
	if p.Name == "" {
		p.Name = "argosy"
	}
	f := &Fleet{program: p, begun: time.Now(), tel: telemetry.New(telemetry.Config{Output: p.stderr(), Program: p.Name}), failed: make(chan struct{})}
	every, chosen, set, err := p.declare(f.tel)
	if err != nil {
		return nil, err
	}
	if set.Describe {
		return nil, p.describe(every, set)
	}
	f.every, f.services, f.set, f.owners = every, chosen, set, owners(every)
	if err := f.start(ctx); err != nil {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.set.DrainTimeout)
		defer cancel()
		return nil, errors.Join(err, f.close(undo))
	}
	return f, nil
}

// start goes through the life of a fleet up to readiness; every step that
// needs undoing leaves a closer.
func (f *Fleet) start(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		f.checkGraph, f.openTelemetry, f.openData, f.openTLS, f.listen, f.openStoresAndBroker,
		f.buildServer, f.openDiscovery, f.bindClients, f.runStartHooks, f.serve,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	f.ready.Store(true)
	f.server.SetServing(true)
	if err := f.announce(ctx); err != nil {
		return err
	}
	f.banner(time.Since(f.begun))
	return f.lines.write(f.set.AddrFile) // last: whoever waits for the file finds everything there
}

// noColor reports whether the user's environment asks for plain logs (no-color.org).
func (f *Fleet) noColor() bool {
	if f.program.Env == nil {
		return true
	}
	v, ok := f.program.Env("NO_COLOR")
	return ok && v != ""
}

func (f *Fleet) onClose(what string, close func(ctx context.Context) error) {
	f.closers = append(f.closers, closer{what, close})
}

func (f *Fleet) openTelemetry(ctx context.Context) error {
	err := f.tel.Configure(ctx, telemetry.Settings{
		Level: f.set.LogLevel, Format: f.set.LogFormat, OTLPEndpoint: f.set.OTLP, SampleRatio: f.set.TraceRate, NoColor: f.noColor(),
	})
	if err != nil {
		return &usageError{err}
	}
	f.onClose("flush telemetry", f.tel.Shutdown)
	return nil
}

func (f *Fleet) openData(context.Context) error {
	dir, err := filepath.Abs(f.set.Data)
	if err != nil {
		return fmt.Errorf("data directory %s: %w", f.set.Data, err)
	}
	f.set.Data = dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("data directory: %w; choose another with --data", err)
	}
	key := f.set.AuthKey
	if key == "" {
		key = filepath.Join(dir, "auth", "signer.key")
	}
	if f.signer, err = auth.OpenSigner(key); err != nil {
		return fmt.Errorf("signing key: %w", err)
	}
	return f.openCallers()
}

// openStoresAndBroker opens everything that is on disk, side by side.
func (f *Fleet) openStoresAndBroker(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	f.onClose("close the stores", func(context.Context) error { return f.eachDB((*store.DB).Close) })
	f.onClose("close the broker", func(context.Context) error {
		if f.broker == nil {
			return nil
		}
		return f.broker.Close()
	})
	opener, err := f.program.Engines.Store(f.set.Store)
	if err != nil && f.hasDB() {
		return &usageError{err}
	}
	for _, s := range f.services {
		if !s.HasDB() {
			continue
		}
		idempotency.Install(s.DB(nil), s.Now)
		s.Worker(idempotency.Janitor(s.DB(nil), 0))
		g.Go(func() error {
			return s.DB(nil).Open(ctx, opener, store.OpenOptions{URL: f.set.Store, Dir: f.set.Data, Log: s.Log()})
		})
	}
	if f.has(service.NeedsBroker) {
		g.Go(func() error { return f.openBroker(ctx) })
	}
	return g.Wait()
}

func (f *Fleet) openBroker(ctx context.Context) error {
	opener, err := f.program.Engines.Broker(f.set.Broker)
	if err != nil {
		return &usageError{err}
	}
	b, err := opener.Open(ctx, broker.OpenOptions{URL: f.set.Broker, Dir: f.set.Data, Name: f.program.Name, Log: f.tel.Logger("broker")})
	if err != nil {
		return fmt.Errorf("open the broker %s: %w", scheme(f.set.Broker), err) // the rest of its URL may hold a password
	}
	f.broker = b
	if c, ok := b.(prometheus.Collector); ok {
		telemetry.Register[prometheus.Collector](f.tel.Registry(), c)
	}
	for _, s := range f.services {
		s.BindBroker(b)
	}
	return nil
}

// buildServer registers what the services serve.
func (f *Fleet) buildServer(context.Context) error {
	f.server = rpc.NewServer(rpc.ServerConfig{
		Telemetry: f.tel, Authenticator: f.callers, TLS: f.tls, Callers: declaredCallers(f.every),
		MaxInFlight: f.set.MaxInFlight, ShedMethod: f.set.rules.shed,
		Quota: guard.RateConfig{PerSecond: f.set.Quota}, Quotas: f.set.rules.quotas,
	})
	var errs []error
	for _, s := range f.services {
		for _, r := range s.Registrations() {
			errs = append(errs, f.server.Register(s.Name(), r.Desc, r.Impl))
		}
	}
	return errors.Join(errs...)
}

// bindClients connects what the services call: to the handler in this process
// where it is served here, over gRPC otherwise.
func (f *Fleet) bindClients(context.Context) error {
	peers, err := parsePeers("peers", f.set.Peers)
	if err != nil {
		return &usageError{err}
	}
	f.onClose("close connections", func(context.Context) error {
		var errs []error
		for _, c := range f.peers {
			errs = append(errs, c())
		}
		return errors.Join(errs...)
	})
	for _, s := range f.services {
		for _, late := range rpc.Declared(s) {
			transport, err := f.transport(s, late, peers)
			if err != nil {
				return err
			}
			if f.program.Network != nil {
				transport = f.program.Network(s.Name(), string(late.Contract().FullName()), transport)
			}
			client := rpc.NewClient(rpc.ClientConfig{From: s.Name(), Contract: late.Contract(), Transport: transport, Telemetry: f.tel, Options: late.Options(), Override: f.set.rules.override(string(late.Contract().FullName()))})
			f.clients = append(f.clients, client)
			late.Bind(client)
		}
	}
	return f.bindKeeper(peers)
}

func (f *Fleet) transport(s *service.Setup, late *rpc.Late, peers map[string]string) (grpc.ClientConnInterface, error) {
	self := identity(s.Name())
	contract := string(late.Contract().FullName())
	if f.serverOf(contract) != nil {
		return f.server.Conn(rpc.ConnOptions{Principal: &self, Wire: f.program.Wire}), nil
	}
	conn, closer, err := f.dial(peers, f.owners[contract], rpc.DialOptions{
		Token: serviceToken(f.signer, s.Name()), Endpoints: f.look(s.Name(), f.owners[contract]),
	})
	if err != nil {
		return nil, fmt.Errorf("service %s: connect to %s: %w", s.Name(), contract, err)
	}
	f.peers = append(f.peers, closer.Close)
	return conn, nil
}

// runStartHooks runs the OnStart hooks: the services side by side, each one's
// own hooks in order.
func (f *Fleet) runStartHooks(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range f.services {
		g.Go(func() error {
			for _, h := range s.StartHooks() {
				if err := h.Run(ctx); err != nil {
					return fmt.Errorf("service %s: %s: %w", s.Name(), h.Name, err)
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// Conn returns a connection straight to the services of this process, as
// principal: for tests, and for tools in the same process. Nothing guards it:
// no retry, no breaker; errors are what the handlers answered.
func (f *Fleet) Conn(principal auth.Principal) grpc.ClientConnInterface {
	return f.server.Conn(rpc.ConnOptions{Principal: &principal, Wire: f.program.Wire})
}

// Addrs returns the addresses that the listeners chose.
func (f *Fleet) Addrs() Addrs { return f.lines.addrs() }

// Failed is closed when the fleet can no longer serve; Stop then tells why.
func (f *Fleet) Failed() <-chan struct{} { return f.failed }

// fail records why the fleet cannot go on. The first reason wins.
func (f *Fleet) fail(err error) {
	f.failOnce.Do(func() {
		f.failure.Store(&err)
		close(f.failed)
	})
}

func (f *Fleet) eachDB(do func(*store.DB) error) error {
	var errs []error
	for _, s := range f.services {
		if s.HasDB() {
			errs = append(errs, do(s.DB(nil)))
		}
	}
	return errors.Join(errs...)
}

// Addrs are the addresses of the three listeners, as host:port.
type Addrs struct {
	HTTP  string `json:"http"`
	GRPC  string `json:"grpc"`
	Admin string `json:"admin"`
}

// lines are the three open listeners.
type lines struct{ http, grpc, admin net.Listener }
