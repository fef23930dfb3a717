package saga

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/rpc"
	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/store"
)

func reason(err error) string {
	if f := fault.From(err); err != nil && f != nil {
		return f.Reason
	}
	return ""
}

// A run whose deadline passes before its pivot is undone, wherever it waits,
// also when no process was there at the time.
func TestADeadlineBeforeThePivotCompensates(t *testing.T) {
	onEachStore(t, testADeadlineBeforeThePivotCompensates)
}

func testADeadlineBeforeThePivotCompensates(t storeTest) {
	for name, waits := range map[string]Step[state]{
		"in an Await":                     Await("b", taken),
		"in a Sleep":                      Sleep("b", func(state) time.Duration { return 100 * time.Hour }),
		"in the pause between attempts":   Do("b", func(context.Context, state) error { return errBusy }).NoUndo().Backoff(50*time.Hour, 50*time.Hour),
		"in a step of unknown outcome":    Do("b", func(context.Context, state) error { return errPlain }).Undo(nothing).Backoff(50*time.Hour, 50*time.Hour),
		"in an Await with a longer limit": Await("b", taken).Within(50 * time.Hour).Else(nothingTx),
	} {
		t.Run(name, func(t storeTest) {
			t.Parallel()
			dir, c, j := t.TempDir(), newClock(), &journal{}
			var s Saga[state]
			declare := func(set *service.Setup) {
				s = Define(set, "course", Deadline(hour), Do("a", j.does("a")).Undo(j.does("-a")), waits, Pivot("p", j.does("p")))
			}
			a := start(t, config{dir: dir, now: c.now, declare: declare})
			begin(a, s, "1")
			awaitStep(t, s, "1", "b")
			run, err := s.Get(context.Background(), "1")
			if want := run.Created.Add(time.Hour); err != nil || !run.Deadline.Equal(want) || !run.Due.Equal(want) {
				t.Errorf("the deadline is %v and it goes on at %v (%v), want %v", run.Deadline, run.Due, err, want)
			}
			a.stop()
			c.advance(2 * time.Hour)
			start(t, config{dir: dir, now: c.now, declare: declare})
			run = wait(t, s, "1")
			if run.State != Compensated || reason(run.Cause) != "SAGA_DEADLINE" || j.String() != "a -a" {
				t.Errorf("the run is %s because of %v, called %q", run.State, run.Cause, j)
			}
		})
	}
}

// A deadline ends the attempt that is under way before the pivot, and the pivot
// is not begun after it.
func TestADeadlineEndsTheAttemptBeforeThePivot(t *testing.T) {
	onEachStore(t, testADeadlineEndsTheAttemptBeforeThePivot)
}

func testADeadlineEndsTheAttemptBeforeThePivot(t storeTest) {
	j := &journal{}
	var s, late Saga[state]
	c := newClock()
	a := start(t, config{now: c.now, declare: func(set *service.Setup) {
		s = Define(set, "short", Deadline(func(state) time.Duration { return 20 * time.Millisecond }),
			Do("b", func(ctx context.Context, _ state) error { <-ctx.Done(); c.advance(time.Second); return ctx.Err() }).Undo(j.does("-b")), Pivot("p", j.does("p")))
		late = Define(set, "late", Deadline(hour), Do("b", func(context.Context, state) error { c.advance(2 * time.Hour); return nil }).Undo(j.does("-b")), Pivot("p", j.does("p")))
	}})
	begin(a, s, "1")
	if run := wait(t, s, "1"); run.State != Compensated || reason(run.Cause) != "SAGA_DEADLINE" || j.String() != "-b" {
		t.Errorf("the run is %s because of %v, called %q", run.State, run.Cause, j)
	}
	begin(a, late, "1")
	if run := wait(t, late, "1"); run.State != Compensated || reason(run.Cause) != "SAGA_DEADLINE" || j.String() != "-b -b" {
		t.Errorf("the run that is late is %s because of %v, called %q", run.State, run.Cause, j)
	}
}

// After the pivot a deadline is an alarm, once, and the run goes on.
func TestADeadlineAfterThePivotIsAnAlarm(t *testing.T) {
	onEachStore(t, testADeadlineAfterThePivotIsAnAlarm)
}

func testADeadlineAfterThePivotIsAnAlarm(t storeTest) {
	c, j := newClock(), &journal{}
	var s Saga[state]
	a := start(t, config{now: c.now, declare: func(set *service.Setup) {
		s = Define(set, "course", Deadline(hour), Pivot("p", j.does("p")), Await("go", taken), Then("t", j.does("t")))
	}})
	begin(a, s, "1")
	awaitStep(t, s, "1", "go")
	c.advance(2 * time.Hour)
	a.e.wake()
	late := func() (n int) {
		run, err := s.Get(context.Background(), "1")
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range run.History {
			if ev.Kind == "late" {
				n++
			}
		}
		return n
	}
	await(t, "the alarm", func() bool { return late() == 1 })
	awaitStep(t, s, "1", "go")
	c.advance(2 * time.Hour)
	a.must(func(_ context.Context, tx *store.Tx) error { s.Signal(tx, "1", "go", nil); return nil })
	if run := wait(t, s, "1"); run.State != Completed || j.String() != "p t" || late() != 1 {
		t.Errorf("the run is %s, called %q, %d alarms", run.State, j, late())
	}
	if got := metric(t, a, "argosy_saga_late_total"); got != 1 {
		t.Errorf("the metric says %v", got)
	}
}

// metric returns the sum of a metric of the app.
func metric(t storeTest, a *app, name string) (sum float64) {
	t.Helper()
	families, err := a.s.Telemetry().Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

func TestAStepsDeadlineEndsItsAttempts(t *testing.T) {
	onEachStore(t, testAStepsDeadlineEndsItsAttempts)
}

func testAStepsDeadlineEndsItsAttempts(t storeTest) {
	dir, c := t.TempDir(), newClock()
	var calls atomic.Int64
	var s Saga[state]
	declare := func(set *service.Setup) {
		s = Define(set, "course", Do("a", func(context.Context, state) error { calls.Add(1); return errBusy }).NoUndo().
			Attempts(1000).Backoff(10*time.Minute, 10*time.Minute).Within(time.Hour))
	}
	a := start(t, config{dir: dir, now: c.now, declare: declare})
	begin(a, s, "1")
	for n, over := 1, false; !over; n++ { // over restarts
		await(t, "the attempt", func() bool {
			run, err := s.Get(context.Background(), "1")
			if err != nil {
				t.Fatal(err)
			}
			over = run.Over()
			return over || run.Attempt == n && run.Holder == ""
		})
		a.stop()
		c.advance(10 * time.Minute)
		a = start(t, config{dir: dir, now: c.now, declare: declare})
	}
	run := wait(t, s, "1")
	if n := calls.Load(); run.State != Compensated || reason(run.Cause) != "OVERLOADED" || n < 5 || n > 12 || run.Ended.Sub(run.Created) > time.Hour {
		t.Errorf("the run is %s after %d attempts and %v: %v", run.State, n, run.Ended.Sub(run.Created), run.Cause)
	}
}

// A step that ends its process, again and again, is parked, loudly.
func TestAStepThatKillsItsProcessIsParked(t *testing.T) {
	onEachStore(t, testAStepThatKillsItsProcessIsParked)
}

func testAStepThatKillsItsProcessIsParked(t storeTest) {
	dir := t.TempDir()
	var calls atomic.Int64
	at := make(chan struct{}, 100)
	var heal atomic.Bool
	var s Saga[state]
	declare := func(set *service.Setup) {
		s = Define(set, "course", Do("a", func(ctx context.Context, _ state) error {
			calls.Add(1)
			if heal.Load() {
				return nil
			}
			at <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		}).Undo(nothing))
	}
	a := start(t, config{dir: dir, declare: declare})
	begin(a, s, "1")
	for range CrashLimit {
		<-at
		a.kill()
		a = start(t, config{dir: dir, declare: declare})
	}
	run := wait(t, s, "1")
	if run.State != Parked || reason(run.Err) != "SAGA_CRASHES" || calls.Load() != CrashLimit || run.Step != "a" {
		t.Errorf("the run is %s at %q after %d calls: %v", run.State, run.Step, calls.Load(), run.Err)
	}
	if got := metric(t, a, "argosy_saga_crashes_total"); got != 1 { // by this process
		t.Errorf("the metric says %v", got)
	}
	heal.Store(true)
	a.must(func(_ context.Context, tx *store.Tx) error { return s.Resume(tx, "1") })
	if run := wait(t, s, "1"); run.State != Completed {
		t.Errorf("the resumed run is %s: %v", run.State, run.Err)
	}
}

// A step of unknown outcome is not asked again once its key may be forgotten.
func TestAnOldKeyIsNotUsedAgain(t *testing.T) { onEachStore(t, testAnOldKeyIsNotUsedAgain) }

func testAnOldKeyIsNotUsedAgain(t storeTest) {
	dir, c, g := t.TempDir(), newClock(), newGate()
	var calls atomic.Int64
	var s Saga[state]
	declare := func(set *service.Setup) {
		s = Define(set, "course", Do("a", func(ctx context.Context, st state) error {
			if calls.Add(1) == 1 {
				return g.pass(ctx, st)
			}
			return nil
		}).Undo(nothing), Do("b", nothing).NoUndo())
	}
	a := start(t, config{dir: dir, now: c.now, declare: declare})
	begin(a, s, "1")
	<-g.at
	a.dead.Store(true)
	close(g.open)
	a.kill()
	c.advance(KeyLife + time.Minute)
	b := start(t, config{dir: dir, now: c.now, declare: declare})
	run := wait(t, s, "1")
	if run.State != Parked || reason(run.Err) != "SAGA_KEY_EXPIRED" || calls.Load() != 1 {
		t.Errorf("the run is %s after %d calls: %v", run.State, calls.Load(), run.Err)
	}
	if _, err := Operate(context.Background(), b.db, Order{Saga: "course", ID: "1", Action: Resume}); reason(err) != "SAGA_KEY_EXPIRED" {
		t.Errorf("resuming says %v", err)
	}
	if _, err := Operate(context.Background(), b.db, Order{Saga: "course", ID: "1", Action: Skip, Reason: "it was done"}); err != nil {
		t.Error(err)
	}
	if run := wait(t, s, "1"); run.State != Completed {
		t.Errorf("after skipping the step the run is %s", run.State)
	}
}

func TestAStepThatCallsAMethodTwiceIsToldOfIt(t *testing.T) {
	onEachStore(t, testAStepThatCallsAMethodTwiceIsToldOfIt)
}

func testAStepThatCallsAMethodTwiceIsToldOfIt(t storeTest) {
	var mu sync.Mutex
	var contexts []context.Context
	var s Saga[state]
	a := start(t, config{declare: func(set *service.Setup) {
		s = Define(set, "course", quick(Do("a", func(ctx context.Context, _ state) error {
			mu.Lock()
			defer mu.Unlock()
			contexts = append(contexts, ctx)
			if len(contexts) == 1 {
				return errPlain
			}
			return nil
		}), 3).NoUndo())
	}})
	begin(a, s, "1")
	wait(t, s, "1")
	if len(contexts) != 2 {
		t.Fatalf("%d attempts", len(contexts))
	}
	for i, ctx := range contexts { // each attempt may call it once
		first, second := rpc.UseKey(ctx, "/test.Orders/Place"), rpc.UseKey(ctx, "/test.Orders/Place")
		if first != nil || reason(second) != "KEY_USED_TWICE" || judge(second) != unknown {
			t.Errorf("attempt %d: the first call says %v, the second %v", i+1, first, second)
		}
	}
}

// Timers go by the injected clock, which may jump either way.
func TestAClockThatJumpsLosesNoTimer(t *testing.T) { onEachStore(t, testAClockThatJumpsLosesNoTimer) }

func testAClockThatJumpsLosesNoTimer(t storeTest) {
	c := newClock()
	var s Saga[state]
	a := start(t, config{now: c.now, declare: func(set *service.Setup) {
		s = Define(set, "course", Sleep("long", hour), Await("sig", taken).Within(time.Hour).Else(nothingTx), Do("a", nothing).NoUndo())
	}})
	begin(a, s, "1")
	awaitStep(t, s, "1", "long")
	c.advance(-3 * time.Hour)
	a.e.wake()
	awaitStep(t, s, "1", "long")
	c.advance(5 * time.Hour)
	a.e.wake()
	awaitStep(t, s, "1", "sig")
	c.advance(1000 * time.Hour)
	a.e.wake()
	if run := wait(t, s, "1"); run.State != Completed {
		t.Errorf("the run is %s: %v", run.State, run.Err)
	}
}

func TestHistoryKeepsTheFirstAndTheLast(t *testing.T) {
	onEachStore(t, testHistoryKeepsTheFirstAndTheLast)
}

func testHistoryKeepsTheFirstAndTheLast(t storeTest) {
	var n atomic.Int64
	var s Saga[state]
	a := start(t, config{declare: func(set *service.Setup) {
		s = Define(set, "course", Do("a", func(context.Context, state) error {
			if n.Add(1) > 150 {
				return nil
			}
			return errPlain
		}).NoUndo().Attempts(200).Backoff(1, 1))
	}})
	begin(a, s, "1")
	run := wait(t, s, "1")
	if len(run.History) != historyBound || run.Dropped != 150-historyBound {
		t.Fatalf("%d entries are kept and %d dropped", len(run.History), run.Dropped)
	}
	for i, ev := range run.History {
		want := i + 1
		if i >= historyHead {
			want = 150 - historyBound + i + 1
		}
		if ev.Attempt != want {
			t.Errorf("entry %d is of attempt %d, want %d", i, ev.Attempt, want)
		}
	}
}
