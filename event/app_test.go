package event_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/event"
	"github.com/argosy-go/argosy/event/internal/eventpb"
	"github.com/argosy-go/argosy/internal/servicetest"
	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/store/sqlite"
)

// patience is how long a test waits for something that should happen at once.
const patience = 20 * time.Second

// signal tells those who wait that something has changed.
type signal struct {
	mu sync.Mutex
	ch chan struct{}
}

func (s *signal) channel() chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

func (s *signal) notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch != nil {
		close(s.ch)
	}
	s.ch = nil
}

// await waits until cond holds; it looks at every change, and now and then for
// what changes without a commit.
func (s *signal) await(t testing.TB, what string, cond func() bool) {
	t.Helper()
	late := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ch := s.channel()
		if cond() {
			return
		}
		select {
		case <-ch:
		case <-tick.C:
		case <-late:
			t.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}

// engine is a real store that tells of its commits and can be made to fail.
type engine struct {
	store.Engine
	changed *signal
	dialect store.Dialect
	// fail is asked before a transaction (commit false) and after it, when the
	// caller has not heard of it (commit true). Nil: never.
	fail func(committed bool) error
}

func (e *engine) Write(ctx context.Context, fn func(store.Conn) error) error {
	if e.fail != nil {
		if err := e.fail(false); err != nil {
			return err
		}
	}
	err := e.Engine.Write(ctx, fn)
	if err == nil {
		e.changed.notify()
	}
	if err == nil && e.fail != nil {
		err = e.fail(true)
	}
	return err
}

func (e *engine) Dialect() store.Dialect {
	if e.dialect != "" {
		return e.dialect
	}
	return e.Engine.Dialect()
}

// app is a running service over a store on disk and a broker.
type app struct {
	t       testing.TB
	setup   *service.Setup
	db      *store.DB
	changed *signal
	workers *servicetest.Workers // nil: the start has failed
	stopped bool
}

// config is what an app is made of. Only declare is needed.
type config struct {
	name    string // "shop"
	dir     string // a new one
	broker  broker.Broker
	changed *signal
	now     func() time.Time
	dialect store.Dialect
	fail    func(bool) error
	declare func(s *service.Setup)
	options service.Options
}

var tables = fstest.MapFS{"0001_effects.sql": {Data: []byte(`-- +goose Up
CREATE TABLE effects (seq INTEGER PRIMARY KEY, event_key TEXT NOT NULL, number BIGINT NOT NULL, attempt INTEGER NOT NULL);
`)}}

func (c config) Open(ctx context.Context, o store.OpenOptions) (store.Engine, error) {
	o.Dir = c.dir
	e, err := sqlite.Opener{}.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	return &engine{Engine: e, changed: c.changed, dialect: c.dialect, fail: c.fail}, nil
}

// start starts a service; the test's end stops it.
func start(t testing.TB, c config) *app {
	t.Helper()
	a, err := tryStart(t, c)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// tryStart starts a service whose start may fail; stop it in any case.
func tryStart(t testing.TB, c config) (*app, error) {
	t.Helper()
	if c.name == "" {
		c.name = "shop"
	}
	if c.dir == "" {
		c.dir = t.TempDir()
	}
	if c.changed == nil {
		c.changed = &signal{}
	}
	if c.broker == nil {
		c.broker = newFake(c.changed)
	}
	if c.now != nil {
		c.options.Now = c.now
	}
	s := service.New(c.name, c.options)
	a := &app{t: t, setup: s, db: s.DB(tables), changed: c.changed}
	c.declare(s)
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	if err := a.db.Open(t.Context(), c, store.OpenOptions{}); err != nil {
		t.Fatal(err)
	}
	s.BindBroker(c.broker)
	t.Cleanup(a.stop)
	for _, h := range s.StartHooks() {
		if err := h.Run(t.Context()); err != nil {
			return a, fmt.Errorf("%s: %w", h.Name, err)
		}
	}
	a.workers = servicetest.Start(s, func(worker string, err error) {
		if !errors.Is(err, context.Canceled) {
			t.Logf("worker %s: %v", worker, err)
		}
	})
	return a, nil
}

// kill ends the service at once: nothing is drained.
func (a *app) kill() {
	if a.workers != nil {
		a.workers.Kill()
	}
	a.stop()
}

// stop drains the service. Stopping it again does nothing.
func (a *app) stop() {
	if a.stopped {
		return
	}
	a.stopped = true
	if a.workers != nil {
		a.workers.Stop()
	}
	if err := a.db.Close(); err != nil {
		a.t.Error(err)
	}
}

// do runs a transaction that must succeed.
func (a *app) do(fn func(ctx context.Context, tx *store.Tx) error) {
	a.t.Helper()
	if err := a.db.Do(context.Background(), fn); err != nil {
		a.t.Fatal(err)
	}
}

// effect is what a handler of the tests did.
type effect struct {
	key     string
	number  int64
	attempt int
}

func (e effect) String() string { return fmt.Sprintf("%s%d", e.key, e.number) }

// record is a handler that writes down what it was given.
func record(ctx context.Context, tx *store.Tx, m *eventpb.Placed) error {
	meta, ok := event.FromContext(ctx)
	if !ok || meta.Key != m.OrderId {
		return fmt.Errorf("the context says %+v of event %v", meta, m)
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO effects (event_key, number, attempt) VALUES ($1, $2, $3)", m.OrderId, m.Number, meta.Attempt)
	return err
}

// effects returns what record wrote, in the order of the commits.
func (a *app) effects() []effect {
	a.t.Helper()
	var out []effect
	err := a.db.Read(context.Background(), func(ctx context.Context, q store.Querier) error {
		out = nil
		rows, err := q.QueryContext(ctx, "SELECT event_key, number, attempt FROM effects ORDER BY seq")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var e effect
			if err := rows.Scan(&e.key, &e.number, &e.attempt); err != nil {
				return err
			}
			out = append(out, e)
		}
		return rows.Err()
	})
	if err != nil {
		a.t.Fatal(err)
	}
	return out
}

// await waits until the condition holds; it looks at every commit and every
// change of the broker.
func (a *app) await(what string, cond func() bool) {
	a.t.Helper()
	a.changed.await(a.t, what, cond)
}

// awaitEffects waits for n effects and returns them.
func (a *app) awaitEffects(n int) []effect {
	a.t.Helper()
	var got []effect
	a.await(fmt.Sprintf("%d effects", n), func() bool { got = a.effects(); return len(got) >= n })
	return got
}

// backlog returns what waits.
func (a *app) backlog() (outbox, pending, dead int) {
	a.t.Helper()
	err := a.db.Read(context.Background(), func(ctx context.Context, q store.Querier) (err error) {
		outbox, pending, dead, err = event.Backlog(ctx, q)
		return err
	})
	if err != nil {
		a.t.Fatal(err)
	}
	return outbox, pending, dead
}

// letters returns the dead letters.
func (a *app) letters() []event.DeadLetter {
	a.t.Helper()
	l, err := event.DeadLetters(context.Background(), a.db, event.DeadLetterFilter{})
	if err != nil {
		a.t.Fatal(err)
	}
	return l
}

// ofKey returns the numbers of a key's effects, in order.
func ofKey(effects []effect, key string) []int64 {
	var out []int64
	for _, e := range effects {
		if e.key == key {
			out = append(out, e.number)
		}
	}
	return out
}

// placed is the publisher of the tests, with a shorthand for its use.
type placed struct {
	event.Publisher[*eventpb.Placed]
}

// publish publishes number n of a key, in a transaction of its own.
func (p placed) publish(a *app, key string, numbers ...int64) {
	a.t.Helper()
	for _, n := range numbers {
		a.do(func(ctx context.Context, tx *store.Tx) error {
			p.Publish(tx, &eventpb.Placed{OrderId: key, Number: n})
			return nil
		})
	}
}
