package saga

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/store"
)

// participant is a service that dedupes by key and keeps tombstones: what one
// that is called by sagas promises.
type participant struct {
	mu     sync.Mutex
	held   map[string]bool // by step
	calls  int
	undone map[string]bool
}

func newParticipant() *participant {
	return &participant{held: map[string]bool{}, undone: map[string]bool{}}
}

func (p *participant) do(name string, err error) func(context.Context, state) error {
	return func(ctx context.Context, _ state) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.calls++
		if want := "course/1/" + name; Key(ctx) != want {
			return fmt.Errorf("the key is %q, want %q", Key(ctx), want)
		}
		if err == nil && !p.undone[name] {
			p.held[name] = true
		}
		return err
	}
}

func (p *participant) undo(name string) func(context.Context, state) error {
	return func(ctx context.Context, _ state) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		if want := "course/1/" + name + "/undo"; Key(ctx) != want {
			return fmt.Errorf("the key is %q, want %q", Key(ctx), want)
		}
		p.undone[name] = true
		delete(p.held, name)
		return nil
	}
}

// A crash at every point where the store is written, before the commit and
// after it, changes nothing of how a run ends.
func TestACrashAnywhereChangesNothing(t *testing.T) { onEachStore(t, testACrashAnywhereChangesNothing) }

func testACrashAnywhereChangesNothing(t storeTest) {
	courses := map[string]struct {
		steps   func(p *participant) []Step[state]
		state   State
		held    []string
		effects []string
	}{
		"completed": {func(p *participant) []Step[state] {
			return []Step[state]{
				Do("a", p.do("a", nil)).Undo(p.undo("a")), DoTx("b", effect("b")).UndoTx(effect("-b")),
				Await("go", func(ctx context.Context, tx *store.Tx, _ state, _ Signal) error { return write(ctx, tx, "go") }),
				Pivot("p", p.do("p", nil)), Sleep("nap", func(state) time.Duration { return time.Millisecond }),
				ThenTx("t", effect("t")), Then("u", p.do("u", nil)),
			}
		}, Completed, []string{"a", "p", "u"}, []string{"b", "go", "t", "completed"}},
		"compensated": {func(p *participant) []Step[state] {
			return []Step[state]{
				Do("a", p.do("a", nil)).Undo(p.undo("a")), DoTx("b", effect("b")).UndoTx(effect("-b")),
				Do("c", p.do("c", nil)).Undo(p.undo("c")), Pivot("p", p.do("p", errRefused)),
			}
		}, Compensated, nil, []string{"b", "-b", "compensated"}},
		"branched": {branched, Compensated, nil, []string{"card", "-card", "compensated"}},
		"parked": {func(p *participant) []Step[state] {
			return []Step[state]{DoTx("b", effect("b")).UndoTx(effect("-b")), Pivot("p", p.do("p", nil)), Then("u", p.do("u", errRefused))}
		}, Parked, []string{"p"}, []string{"b", "parked"}},
	}
	for name, c := range courses {
		t.Run(name, func(t storeTest) {
			t.Parallel()
			dir := t.TempDir()
			for point := int64(1); ; point++ {
				if reached := crashAt(t, dir, point, c.steps, c.state, c.held, c.effects); !reached {
					t.Logf("%d points", point-1)
					if point < 8 {
						t.Error("too few points were reached")
					}
					return
				}
			}
		})
	}
}

func effect(what string) func(context.Context, *store.Tx, state) error {
	return func(ctx context.Context, tx *store.Tx, _ state) error { return write(ctx, tx, what) }
}

// crashAt runs one course with a crash at the point-th chance after the start,
// and reports whether there was such a point.
func crashAt(t storeTest, dir string, point int64, steps func(*participant) []Step[state], want State, held, effects []string) bool {
	t.Helper()
	p := newParticipant()
	var s Saga[state]
	declare := func(set *service.Setup) {
		s = Define(set, "course", append(steps(p), End(func(ctx context.Context, tx *store.Tx, _ state, o Outcome) error {
			return write(ctx, tx, string(o.State))
		}))...)
	}
	var armed atomic.Bool
	var passed atomic.Int64
	a := start(t, config{dir: dir, declare: declare, crash: func(bool) bool { return armed.Load() && passed.Add(1) == point }})
	_ = a.do(func(_ context.Context, tx *store.Tx) error { // fails when it crashes right after this commit
		s.Start(tx, "1", &structpb.Struct{})
		if s.d.step("go") != nil {
			s.Signal(tx, "1", "go", nil)
		}
		armed.Store(true)
		return nil
	})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	var group sync.WaitGroup
	group.Go(func() {
		select {
		case <-a.crashed:
			cancel()
		case <-ctx.Done():
		}
	})
	_, err := s.Wait(ctx, "1")
	cancel()
	group.Wait()
	if err != nil && !a.dead.Load() {
		t.Fatalf("point %d: neither end nor crash: %v", point, err)
	}
	reached := a.dead.Load()
	a.kill()
	b := start(t, config{dir: dir, declare: declare})
	defer b.stop()
	defer b.empty()
	if run := wait(t, s, "1"); run.State != want {
		t.Errorf("point %d: the run is %s, want %s: %v", point, run.State, want, run.Err)
	}
	if got := b.effects(); !slices.Equal(got, effects) {
		t.Errorf("point %d: the effects are %v, want %v", point, got, effects)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var left []string
	for name := range p.held {
		left = append(left, name)
	}
	slices.Sort(left)
	if !slices.Equal(left, held) {
		t.Errorf("point %d: participants hold %v, want %v", point, left, held)
	}
	return reached
}

// clock is a time that tests set.
type clock struct{ us atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.us.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixMicro())
	return c
}

func (c *clock) now() time.Time          { return time.UnixMicro(c.us.Load()) }
func (c *clock) advance(d time.Duration) { c.us.Add(d.Microseconds()) }

func TestTimersGoOnOverARestart(t *testing.T) { onEachStore(t, testTimersGoOnOverARestart) }

func testTimersGoOnOverARestart(t storeTest) {
	dir, c, j := t.TempDir(), newClock(), &journal{}
	var s Saga[state]
	declare := func(set *service.Setup) {
		s = Define(set, "course", Sleep("long", func(state) time.Duration { return time.Hour }),
			Await("never", taken).Within(time.Hour).Else(nothingTx), Do("a", j.does("a")).NoUndo())
	}
	a := start(t, config{dir: dir, now: c.now, declare: declare})
	a.must(func(_ context.Context, tx *store.Tx) error { s.Start(tx, "1", &structpb.Struct{}); return nil })
	at := func(step string, due time.Time) {
		t.Helper()
		run, err := s.Get(context.Background(), "1")
		if err != nil || run.Step != step || !run.Due.Equal(due) || run.Holder != "" {
			t.Errorf("the run is at %q, due %v, held by %q (%v), want %q, %v", run.Step, run.Due, run.Holder, err, step, due)
		}
	}
	begun := c.now()
	awaitStep(t, s, "1", "long")
	at("long", begun.Add(time.Hour))
	a.kill()
	c.advance(59 * time.Minute)
	b := start(t, config{dir: dir, now: c.now, declare: declare})
	at("long", begun.Add(time.Hour))
	c.advance(2 * time.Minute)
	b.e.wake()
	awaitStep(t, s, "1", "never")
	at("never", c.now().Add(time.Hour))
	b.stop()
	c.advance(2 * time.Hour)
	start(t, config{dir: dir, now: c.now, declare: declare})
	if run := wait(t, s, "1"); run.State != Completed || j.String() != "a" {
		t.Errorf("the run is %s, called %q", run.State, j)
	}
}

// What an instance does after it has lost its lease changes nothing.
func TestAStaleInstanceWritesNothing(t *testing.T) { onEachStore(t, testAStaleInstanceWritesNothing) }

func testAStaleInstanceWritesNothing(t storeTest) {
	g := newGate()
	var s Saga[state]
	a := start(t, config{declare: func(set *service.Setup) {
		s = Define(set, "course", Do("a", g.pass).NoUndo(), DoTx("b", effect("b")).NoUndo())
	}})
	a.must(func(_ context.Context, tx *store.Tx) error { s.Start(tx, "1", &structpb.Struct{}); return nil })
	<-g.at
	a.must(func(ctx context.Context, tx *store.Tx) error { // what another instance's claim does
		_, err := tx.ExecContext(ctx, "UPDATE argosy_saga_runs SET holder = 'other', epoch = epoch + 1, doubt = 1")
		return err
	})
	close(g.open)
	awaitIdle(t, a.e)
	run, err := s.Get(context.Background(), "1")
	if err != nil || run.Step != "a" || run.Holder != "other" || len(a.effects()) != 0 {
		t.Errorf("the run is at %q, held by %q (%v), effects %v: the stale instance has written", run.Step, run.Holder, err, a.effects())
	}
}

// On a store that instances share, the runs of one that is gone are taken over
// when its lease has run out, and not before.
func TestRunsOfAnInstanceThatIsGoneAreTakenOver(t *testing.T) {
	onEachStore(t, testRunsOfAnInstanceThatIsGoneAreTakenOver)
}

func testRunsOfAnInstanceThatIsGoneAreTakenOver(t storeTest) {
	dir, c, g := t.TempDir(), newClock(), newGate()
	first := atomic.Bool{}
	var s Saga[state]
	declare := func(set *service.Setup) {
		s = Define(set, "course", Do("a", func(ctx context.Context, st state) error {
			if first.CompareAndSwap(false, true) {
				return g.pass(ctx, st)
			}
			return nil
		}).Undo(nothing))
	}
	a := start(t, config{dir: dir, now: c.now, declare: declare})
	a.must(func(_ context.Context, tx *store.Tx) error { s.Start(tx, "1", &structpb.Struct{}); return nil })
	<-g.at
	a.dead.Store(true)
	close(g.open)
	a.kill()
	b := start(t, config{dir: dir, now: c.now, declare: declare})
	if t.kind == store.Postgres {
		if run, err := s.Get(context.Background(), "1"); err != nil || run.Holder != a.s.Instance() {
			t.Errorf("the run is held by %q (%v)", run.Holder, err)
		}
		c.advance(lease + time.Second)
		b.e.wake()
	}
	if run := wait(t, s, "1"); run.State != Completed {
		t.Errorf("the run is %s", run.State)
	}
}
