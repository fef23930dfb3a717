package saga

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/argosy-go/argosy/internal/servicetest"
	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/store/sqlite"
)

// patience is how long a test waits for something that should happen at once.
const patience = 30 * time.Second

var tables = fstest.MapFS{"0001_effects.sql": {Data: []byte(`-- +goose Up
CREATE TABLE effects (n INTEGER PRIMARY KEY, run TEXT NOT NULL, what TEXT NOT NULL);
`)}}

// sqliteOpener is the store of the tests.
var sqliteOpener store.Opener = sqlite.Opener{}

// config is what an app is made of. Only declare is needed.
type config struct {
	dir     string // a new one
	store   store.Opener
	now     func() time.Time
	twice   bool
	name    string // the instance; random
	dialect store.Dialect
	declare func(s *service.Setup)
	// crash is asked before (committed false) and after each transaction; once
	// it has said true the process is dead to its store.
	crash func(committed bool) bool
	// faulty says that workers may fail, since the store does.
	faulty bool
}

// app is a running service with a store on disk.
type app struct {
	t       testing.TB
	s       *service.Setup
	db      *store.DB
	e       *engine
	dead    *atomic.Bool
	crashed chan struct{}
	workers *servicetest.Workers
	stopped bool
}

// start starts a service; the test's end stops it.
func start(t testing.TB, c config) *app {
	t.Helper()
	if c.dir == "" {
		c.dir = t.TempDir()
	}
	s := service.New("shop", service.Options{Now: c.now, RunTwice: c.twice, Instance: c.name})
	a := &app{t: t, s: s, db: s.DB(tables), dead: new(atomic.Bool), crashed: make(chan struct{})}
	c.declare(s)
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	a.e = service.Find[engine](s)
	o := &mortalOpener{app: a, crash: c.crash, dialect: c.dialect, inner: c.store}
	if o.inner == nil {
		o.inner = sqliteOpener
	}
	ctx := context.Background()
	if err := a.db.Open(ctx, o, store.OpenOptions{Dir: c.dir, Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.stop)
	for _, h := range s.StartHooks() {
		if err := h.Run(ctx); err != nil && !a.dead.Load() {
			t.Fatal(err)
		}
	}
	a.workers = servicetest.Start(s, func(worker string, err error) {
		if !a.dead.Load() && !c.faulty {
			t.Errorf("worker %s: %v", worker, err)
		}
	})
	return a
}

// stop drains and closes the service.
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

// kill stops the service as a crash does: nothing is written any more.
func (a *app) kill() {
	a.dead.Store(true)
	a.e.cancel(errors.New("killed"))
	a.stop()
}

func (a *app) do(f func(ctx context.Context, tx *store.Tx) error) error {
	return a.db.Do(context.Background(), f)
}

// must runs f in a transaction that has to commit.
func (a *app) must(f func(ctx context.Context, tx *store.Tx) error) {
	a.t.Helper()
	if err := a.do(f); err != nil {
		a.t.Fatal(err)
	}
}

// effects returns what steps wrote into the table, in order.
func (a *app) effects() []string {
	a.t.Helper()
	var out []string
	err := a.db.Read(context.Background(), func(ctx context.Context, q store.Querier) error {
		rows, err := q.QueryContext(ctx, "SELECT what FROM effects ORDER BY n")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var s string
			if err := rows.Scan(&s); err != nil {
				return err
			}
			out = append(out, s)
		}
		return rows.Err()
	})
	if err != nil {
		a.t.Fatal(err)
	}
	return out
}

// write is what steps in a transaction do.
func write(ctx context.Context, tx *store.Tx, what string) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO effects (run, what) VALUES ('', $1)", what)
	return err
}

// mortalOpener opens stores that can die.
type mortalOpener struct {
	app     *app
	inner   store.Opener
	crash   func(bool) bool
	dialect store.Dialect
}

func (o *mortalOpener) Open(ctx context.Context, opts store.OpenOptions) (store.Engine, error) {
	e, err := o.inner.Open(ctx, opts)
	if err != nil {
		return nil, err
	}
	return &mortal{Engine: e, o: o}, nil
}

type mortal struct {
	store.Engine
	o *mortalOpener
}

func (m *mortal) die(committed bool) bool {
	if m.o.app.dead.Load() {
		return true
	}
	if m.o.crash == nil || !m.o.crash(committed) {
		return false
	}
	if m.o.app.dead.CompareAndSwap(false, true) {
		close(m.o.app.crashed)
	}
	return true
}

func (m *mortal) Write(ctx context.Context, fn func(store.Conn) error) error {
	if m.die(false) {
		return store.ErrClosed
	}
	if err := m.Engine.Write(ctx, fn); err != nil {
		return err
	}
	if m.die(true) {
		return store.ErrUnknown
	}
	return nil
}

func (m *mortal) Read(ctx context.Context, fn func(store.Querier) error) error {
	if m.o.app.dead.Load() {
		return store.ErrClosed
	}
	return m.Engine.Read(ctx, fn)
}

func (m *mortal) Dialect() store.Dialect {
	if m.o.dialect != "" {
		return m.o.dialect
	}
	return m.Engine.Dialect()
}

// wait waits for the end of a run.
func wait(t testing.TB, s Saga[state], id string) Run[state] {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	run, err := s.Wait(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// await waits until cond holds. It looks again and again, for what tells nobody.
func await(t testing.TB, what string, cond func() bool) {
	t.Helper()
	late := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}

// awaitStep waits until the run waits in the step.
func awaitStep(t testing.TB, s Saga[state], id, step string) {
	t.Helper()
	await(t, "the run waits at "+step, func() bool {
		run, err := s.Get(context.Background(), id)
		if err != nil {
			t.Fatal(err)
		}
		return run.Step == step && run.Holder == ""
	})
}

// awaitIdle waits until the engine has no run in memory.
func awaitIdle(t testing.TB, e *engine) {
	t.Helper()
	await(t, "no run is in memory", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return len(e.mine) == 0
	})
}
