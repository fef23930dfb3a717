package saga

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/store"
)

const (
	// runsAtOnce bounds the runs of a service that take a step at the same time.
	runsAtOnce = 256
	// queueLimit bounds the runs in memory; more wait in the store.
	queueLimit = 8192
	// claimBatch bounds the runs that one transaction claims, so that the
	// instances that share a store share what is due.
	claimBatch = 64
	// lease is how long an instance keeps its runs without a sign of life,
	// unless the settings say otherwise.
	lease = 15 * time.Second
	// pollEvery is how often the store is asked for due runs, nearly.
	pollEvery = time.Second
	// spread is by how much instances that share a store come at different times.
	spread = 20 * time.Millisecond
	// drainGrace is how long attempts may go on when the program stops.
	drainGrace = 5 * time.Second
)

// The topics of the hints that instances give each other.
const (
	topicDue  = "argosy/saga"      // a run is due that nobody holds
	topicOver = "argosy/saga/over" // a run has ended or is parked
)

// settings are the settings of the sagas of a service.
type settings struct {
	SagaLease     time.Duration `default:"15s" usage:"how long an instance keeps its runs of sagas without a sign of life before others take them over"`
	SagaRetention time.Duration `default:"720h" usage:"how long runs of sagas are kept when they have ended"`
}

// engine runs the sagas of one service. A run is worked on by the instance that
// its row names; all others leave it alone until that instance's lease has run
// out. In memory are only the runs that go on at once: those that wait are in
// the store, and the poller finds them when they are due.
type engine struct {
	s        *service.Setup
	db       *store.DB
	instance string
	sagas    map[string]*definition // written during setup only
	meters   *meters
	settings settings
	warned   time.Time // of runs that nobody claims; used by the worker of the runs
	versions []any     // those that this instance knows, once it has begun

	base   context.Context // of all attempts; ends when a drain takes too long
	cancel context.CancelCauseFunc
	group  sync.WaitGroup // the goroutines that run steps

	mu      sync.Mutex
	queue   []*record
	mine    map[key]*record // queued or under way, under the last claim
	active  int             // goroutines that run steps
	open    bool            // the runs worker is up
	closed  bool            // it has ended
	starved bool            // the poller waits for room
	waiters map[key][]chan struct{}
	unsure  map[key]*record // runs whose last attempt has left no result

	wakeup chan struct{} // tells the poller to look now
	target atomic.Int64  // when the poller looks by itself, in microseconds
}

// engineOf returns the service's engine, made when its first saga is defined.
func engineOf(s *service.Setup) *engine {
	return service.Part(s, func() *engine {
		e := &engine{
			s: s, db: s.DB(nil), instance: s.Instance(), sagas: map[string]*definition{}, meters: newMeters(s), settings: settings{SagaLease: lease, SagaRetention: Retention},
			mine: map[key]*record{}, unsure: map[key]*record{}, waiters: map[key][]chan struct{}{}, wakeup: make(chan struct{}, 1),
		}
		e.base, e.cancel = context.WithCancelCause(context.Background())
		e.db.Migrations("argosy_saga", Migrations())
		store.Part(e.db, func() *engine { return e })
		s.Config(&e.settings)
		e.admin()
		s.OnStart("sagas", e.begin)
		s.Worker(service.Worker{Stage: service.Intake, Name: "saga-timers", Run: e.poll})
		s.Worker(service.Worker{Stage: service.Work, Name: "saga-runs", Run: e.run})
		return e
	})
}

func (e *engine) now() time.Time { return e.s.Now() }

// begin takes the lease of this instance. A SQLite file belongs to one process
// at a time, so that the runs of every other holder are free at once.
func (e *engine) begin(ctx context.Context) error {
	if e.settings.SagaLease < time.Second || e.settings.SagaRetention <= 0 {
		return fmt.Errorf("the sagas of %s need a lease of at least 1s and a retention, and have %v and %v",
			e.s.Name(), e.settings.SagaLease, e.settings.SagaRetention)
	}
	err := e.db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		if e.db.Dialect() == store.SQLite {
			if _, err := tx.ExecContext(ctx, "DELETE FROM argosy_saga_holders WHERE holder <> $1", e.instance); err != nil {
				return err
			}
		}
		if err := e.announce(ctx, tx); err != nil {
			return err
		}
		return e.beat(ctx, tx)
	})
	if err != nil {
		return fmt.Errorf("take the lease of sagas: %w", err)
	}
	return e.census(ctx)
}

// beat renews the lease of this instance.
func (e *engine) beat(ctx context.Context, tx *store.Tx) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO argosy_saga_holders (holder, until) VALUES ($1, $2)
		ON CONFLICT (holder) DO UPDATE SET until = excluded.until`, e.instance, store.At(e.now().Add(e.settings.SagaLease)))
	return err
}

// run is the worker of the runs: it keeps the lease while the goroutines that
// it owns take the steps. When ctx ends, attempts under way may finish, and
// what is left is released for others.
func (e *engine) run(ctx context.Context) error {
	e.mu.Lock()
	e.open, e.closed = true, false
	e.spawn()
	e.mu.Unlock()
	tick := time.NewTicker(e.settings.SagaLease / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return e.drain(context.WithoutCancel(ctx))
		case <-tick.C:
		}
		err := e.db.Do(ctx, e.beat)
		if err == nil {
			err = e.census(ctx)
		}
		if err != nil && ctx.Err() == nil {
			e.s.Log().Warn("the lease of the sagas could not be renewed", "error", err)
		}
	}
}

// drain waits for the attempts under way and gives back all runs. One whose
// attempt has left no result may have had its effect, which only this instance
// knows.
func (e *engine) drain(ctx context.Context) error {
	e.mu.Lock()
	e.open, e.closed = false, true
	e.mu.Unlock()
	late := time.AfterFunc(drainGrace, func() { e.cancel(errDraining) })
	e.group.Wait()
	late.Stop()
	e.mu.Lock()
	e.queue = nil
	clear(e.mine)
	unsure := slices.Collect(maps.Values(e.unsure))
	clear(e.unsure)
	e.mu.Unlock()
	return e.db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		tx.AfterCommit(func() { e.db.Notify(topicDue) })
		for _, r := range unsure {
			_, err := tx.ExecContext(ctx, "UPDATE argosy_saga_runs SET doubt = 1 WHERE saga = $1 AND id = $2 AND holder = $3 AND epoch = $4",
				r.saga, r.id, e.instance, r.epoch)
			if err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, "UPDATE argosy_saga_runs SET holder = '', due = $1 WHERE holder = $2", store.At(e.now()), e.instance)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "DELETE FROM argosy_saga_holders WHERE holder = $1", e.instance)
		return err
	})
}

// accept takes in a run that this instance holds. After the drain it stays in
// the store, for the next instance.
func (e *engine) accept(runs ...*record) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return
	}
	for _, r := range runs {
		e.mine[r.key] = r
		delete(e.unsure, r.key)
		e.queue = append(e.queue, r)
	}
	e.spawn()
}

// room returns how many more runs may be in memory. With none, the poller is
// told when there is room again.
func (e *engine) room() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := queueLimit - len(e.mine)
	if e.closed {
		n = 0
	}
	e.starved = n <= 0
	return n
}

// spawn starts goroutines for what is queued. The caller holds mu.
func (e *engine) spawn() {
	for n := len(e.queue); e.open && n > 0 && e.active < runsAtOnce; n-- {
		e.active++
		e.group.Go(e.work)
	}
}

// work takes runs from the queue until it is empty.
func (e *engine) work() {
	var r *record
	defer func() { e.retire(r) }()
	for r = e.next(nil); r != nil; r = e.next(r) {
		e.drive(r)
	}
}

// next forgets the run that was driven and returns another one.
func (e *engine) next(driven *record) *record {
	e.mu.Lock()
	defer e.mu.Unlock()
	if driven != nil {
		e.forget(driven)
	}
	for e.open && len(e.queue) > 0 {
		r := e.queue[0]
		e.queue[0] = nil
		e.queue = e.queue[1:]
		if e.mine[r.key] == r { // otherwise it was lost while it waited, and is here under a later claim
			return r
		}
	}
	return nil
}

// forget drops a run from memory, unless it is there under a later claim. The
// caller holds mu.
func (e *engine) forget(r *record) {
	if e.mine[r.key] == r {
		delete(e.mine, r.key)
	}
	if e.starved && len(e.mine) < queueLimit/2 {
		e.starved = false
		e.wake()
	}
}

// abandon notes that the result of r's attempt is not stored since the program
// stops.
func (e *engine) abandon(r *record) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.unsure[r.key] = r
}

// retire ends a goroutine. r is not nil when a step ended it with
// runtime.Goexit: the poller finds the run again.
func (e *engine) retire(r *record) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r != nil {
		e.unsure[r.key] = r
		e.forget(r)
	}
	e.active--
	if len(e.queue) > 0 && e.active == 0 {
		e.spawn()
	}
}

func (e *engine) stopping() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !e.open
}

// wake makes the poller look now.
func (e *engine) wake() {
	select {
	case e.wakeup <- struct{}{}:
	default:
	}
}

// stir makes the pollers look now: something is due that nobody may hold.
func (e *engine) stir() {
	e.wake()
	e.db.Notify(topicDue)
}

// rumour makes the poller look a little later: other instances have heard too.
func (e *engine) rumour() { time.AfterFunc(rand.N(spread), e.wake) }

// wakeAt makes the poller look at the time, in microseconds, at the latest.
func (e *engine) wakeAt(at int64) {
	if at < e.target.Load() {
		e.wake()
	}
}

// subscribe returns a channel that is closed when the run ends or is parked,
// and a function to give it back.
func (e *engine) subscribe(k key) (<-chan struct{}, func()) {
	ch := make(chan struct{})
	e.mu.Lock()
	defer e.mu.Unlock()
	e.waiters[k] = append(e.waiters[k], ch)
	return ch, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		list := e.waiters[k]
		for i, c := range list {
			if c == ch {
				list = append(list[:i:i], list[i+1:]...)
				break
			}
		}
		if e.waiters[k] = list; len(list) == 0 {
			delete(e.waiters, k)
		}
	}
}

// publishAll makes everybody who waits for the end of a run look.
func (e *engine) publishAll() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for k, list := range e.waiters {
		for _, ch := range list {
			close(ch)
		}
		delete(e.waiters, k)
	}
}

// publish tells those who wait for the end of a run.
func (e *engine) publish(k key) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ch := range e.waiters[k] {
		close(ch)
	}
	delete(e.waiters, k)
}

// pause waits for the time or for the end of the program's patience, and
// reports whether to go on.
func (e *engine) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return !e.stopping()
	case <-e.base.Done():
		return false
	}
}

// full reports whether memory holds as many runs as it may.
func (e *engine) full() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.mine) >= queueLimit
}
