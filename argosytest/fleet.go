package argosytest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/broker/memory"
	"github.com/argosy-go/argosy/engine"
	"github.com/argosy-go/argosy/event"
	"github.com/argosy-go/argosy/rpc"
	"github.com/argosy-go/argosy/saga"
	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/store/sqlite"
)

// Patience is how long the kit waits for a fleet to become quiet.
const Patience = 2 * time.Minute

// stopWithin bounds the drain of a fleet at the end of a test.
const stopWithin = 15 * time.Second

// Config says what a fleet in a test is made of. Only Services is needed.
type Config struct {
	// Services are the fleet. They are set up anew at every start.
	Services []argosy.Service
	// Dir is the data directory. Empty: a temporary one.
	Dir string
	// Store opens the stores, with StoreURL. Nil: SQLite, in files in Dir.
	Store    store.Opener
	StoreURL string
	// Broker opens the broker, with BrokerURL. Nil: one in memory, which
	// outlives the fleet's restarts in [CrashEverywhere].
	Broker    broker.Opener
	BrokerURL string
	// Args are settings, as on the command line: "--order.max-lines=3".
	Args []string
	// Clock is what the services read as the time. Nil: a new one.
	Clock *Clock
	// Network is between the services. Nil: one that loses nothing.
	Network *Network
	// Once runs transaction functions once. By default they run twice.
	Once bool
	// Log receives the logs. Nil: the output of the test.
	Log io.Writer
}

// Fleet is a running fleet in a test. It is safe for concurrent use.
type Fleet struct {
	*argosy.Fleet
	// Clock is what the services read as the time.
	Clock *Clock
	// Dir is the data directory.
	Dir    string
	stores *stores
	broker broker.Opener
	setups []*argosy.Setup

	network *Network
}

// Stop drains the fleet: see [argosy.Fleet.Stop].
func (f *Fleet) Stop(ctx context.Context) error {
	f.network.settle()
	return f.Fleet.Stop(ctx)
}

// Start starts the services and stops them at the end of the test, when the
// fleet must drain without an error.
func Start(t testing.TB, services ...argosy.Service) *Fleet {
	t.Helper()
	return StartConfig(t, Config{Services: services})
}

// StartConfig is [Start] with more to say.
func StartConfig(t testing.TB, c Config) *Fleet {
	t.Helper()
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	if c.Log == nil {
		c.Log = t.Output()
	}
	f, err := c.start(t.Context(), nil)
	if err != nil {
		t.Fatalf("start the fleet: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
		defer cancel()
		if err := f.Stop(ctx); err != nil {
			t.Errorf("stop the fleet: %v", err)
		}
	})
	return f
}

// start starts the fleet; with a life, it is one that can be ended.
func (c Config) start(ctx context.Context, l *life) (*Fleet, error) {
	if c.Clock == nil {
		c.Clock = &Clock{}
	}
	if c.Store == nil {
		c.Store, c.StoreURL = sqlite.Opener{}, "sqlite:"
	}
	if c.Broker == nil {
		c.Broker = memory.NewServer()
	}
	if c.BrokerURL == "" {
		c.BrokerURL = "memory:"
	}
	f := &Fleet{Clock: c.Clock, Dir: c.Dir, network: c.Network, stores: &stores{opener: c.Store, life: l, open: map[string]store.Engine{}}, broker: c.Broker}
	p := argosy.Program{
		Name: "test",
		Engines: engine.Set{
			Stores:  map[string]store.Opener{scheme(c.StoreURL): f.stores},
			Brokers: map[string]broker.Opener{scheme(c.BrokerURL): mortalBrokers{c.Broker, l}},
		},
		Services: f.listen(c.Services), Stderr: c.Log, Wire: true, RunTwice: !c.Once, Now: c.Clock.Now,
		Args: append([]string{
			"--http=127.0.0.1:0", "--grpc=127.0.0.1:0", "--admin=127.0.0.1:0", "--log-level=warn", "--log-format=json",
			"--data=" + c.Dir, "--store=" + c.StoreURL, "--broker=" + c.BrokerURL,
		}, c.Args...),
	}
	if c.Network != nil {
		p.Network = c.Network.between
	}
	var err error
	f.Fleet, err = argosy.Start(ctx, p)
	return f, err
}

// listen returns the services as they are, and remembers what they declare.
func (f *Fleet) listen(services []argosy.Service) []argosy.Service {
	out := make([]argosy.Service, len(services))
	for i, svc := range services {
		out[i] = svc
		if svc.Setup == nil {
			continue
		}
		out[i].Setup = func(s *argosy.Setup) error {
			f.setups = append(f.setups, s)
			return svc.Setup(s)
		}
	}
	return out
}

// consumers returns what the services consume.
func (f *Fleet) consumers() []event.Consumer {
	var all []event.Consumer
	for _, s := range f.setups {
		all = append(all, event.Consumers(s)...)
	}
	return all
}

func scheme(url string) string {
	s, _, _ := strings.Cut(url, ":")
	return s
}

// Client returns a client of a contract that the fleet serves, with everything
// that a client of a service has: deadlines, retries of what may be retried,
// idempotency keys. Its constructor is the one that protoc-gen-go-grpc wrote.
// It panics when there is no such contract.
func Client[C any](f *Fleet, as auth.Principal, newClient func(grpc.ClientConnInterface) C) C {
	contract, err := rpc.Contract(newClient)
	if err != nil {
		panic(fmt.Sprintf("argosytest: %v", err))
	}
	return newClient(rpc.NewClient(rpc.ClientConfig{From: "test", Contract: contract, Transport: f.Conn(as)}))
}

// Read reads the store of a service: a snapshot of all that was acknowledged.
func (f *Fleet) Read(ctx context.Context, service string, fn func(q store.Querier) error) error {
	e := f.stores.of(service)
	if e == nil {
		return fmt.Errorf("service %s has no store in this fleet", service)
	}
	return e.Read(ctx, fn)
}

// Waiting says what the fleet has not done yet: events in outboxes, events
// that wait for another attempt, sagas that go on. It is "" when the fleet is
// quiet. Sagas that are parked and dead letters do not wait: nobody does
// anything about them by itself. What is under way in a broker is known of the
// one in memory only.
func (f *Fleet) Waiting(ctx context.Context) (string, error) {
	var waits []string
	for _, service := range f.stores.services() {
		err := f.Read(ctx, service, func(q store.Querier) error {
			outbox, pending, _, err := event.Backlog(ctx, q)
			if err != nil {
				return err
			}
			active, _, err := saga.Active(ctx, q)
			if err != nil {
				return err
			}
			if outbox+pending+active > 0 {
				waits = append(waits, fmt.Sprintf("%s: %d events in the outbox, %d in the inbox, %d sagas", service, outbox, pending, active))
			}
			return nil
		})
		if err != nil {
			return "", fmt.Errorf("ask %s what waits: %w", service, err)
		}
	}
	if b, ok := f.broker.(counting); ok {
		for _, c := range f.consumers() {
			if n := b.Unacknowledged(c.Topic, c.Name); n > 0 {
				waits = append(waits, fmt.Sprintf("broker: %d events for %s", n, c.Name))
			}
		}
	}
	if f.network != nil {
		if n := f.network.under.Load(); n > 0 {
			waits = append(waits, fmt.Sprintf("network: %d requests that are late", n))
		}
	}
	return strings.Join(waits, "; "), nil
}

// AwaitQuiet waits until nothing waits any more, and fails the test when that
// takes longer than [Patience].
func (f *Fleet) AwaitQuiet(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	if err := f.awaitQuiet(ctx); err != nil {
		t.Fatal(err)
	}
}

// look is how often the kit looks whether a fleet is quiet.
const look = 10 * time.Millisecond

var errRestless = errors.New("the fleet does not become quiet")

func (f *Fleet) awaitQuiet(ctx context.Context) error {
	tick := time.NewTicker(look)
	defer tick.Stop()
	last := "nobody has said for what"
	for calm := 0; ; {
		waits, err := f.Waiting(ctx)
		if err != nil && ctx.Err() != nil {
			return fmt.Errorf("%w: %s", errRestless, last)
		}
		if err != nil {
			return err
		}
		last = waits
		if waits == "" {
			calm++
		} else {
			calm = 0
		}
		if calm == 2 { // what was on its way between two stores has arrived
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %s", errRestless, waits)
		}
	}
}
