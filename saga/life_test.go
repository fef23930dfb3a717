package saga

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/rpc"
	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/telemetry"
)

func set(st state, field, value string) {
	if st.Fields == nil {
		st.Fields = map[string]*structpb.Value{}
	}
	st.Fields[field] = structpb.NewStringValue(value)
}

func begin(a *app, s Saga[state], id string) {
	a.t.Helper()
	a.must(func(_ context.Context, tx *store.Tx) error { s.Start(tx, id, &structpb.Struct{}); return nil })
}

func TestAnAttemptGetsAFreshCopyThatIsKeptOnSuccess(t *testing.T) {
	onEachStore(t, testAnAttemptGetsAFreshCopyThatIsKeptOnSuccess)
}

func testAnAttemptGetsAFreshCopyThatIsKeptOnSuccess(t storeTest) {
	var seen []string
	attempt := 0
	var s Saga[state]
	a := start(t, config{declare: func(setup *service.Setup) {
		s = Define(setup, "course",
			quick(Do("a", func(_ context.Context, st state) error {
				attempt++
				seen = append(seen, fmt.Sprint(st.Fields["start"].GetStringValue(), len(st.Fields)))
				set(st, fmt.Sprint("try", attempt), "x")
				if attempt < 3 {
					return errPlain
				}
				return nil
			}).NoUndo(), 5),
			DoTx("b", func(_ context.Context, _ *store.Tx, st state) error { set(st, "b", "x"); return nil }).NoUndo(),
			End(func(_ context.Context, _ *store.Tx, st state, _ Outcome) error { set(st, "end", "x"); return nil }))
	}})
	mine := &structpb.Struct{}
	set(mine, "start", "s")
	a.must(func(_ context.Context, tx *store.Tx) error {
		s.Start(tx, "1", mine)
		set(mine, "start", "changed by the caller afterwards")
		return nil
	})
	run := wait(t, s, "1")
	if !slices.Equal(seen, []string{"s1", "s1", "s1"}) {
		t.Errorf("the attempts saw %q", seen)
	}
	var fields []string
	for f := range run.Value.Fields {
		fields = append(fields, f)
	}
	slices.Sort(fields)
	if got := strings.Join(fields, " "); got != "b end start try3" {
		t.Errorf("the state has the fields %q", got)
	}
}

func TestAParkedRunResumes(t *testing.T) { onEachStore(t, testAParkedRunResumes) }

func testAParkedRunResumes(t storeTest) {
	var mu sync.Mutex
	var keys []string
	var fail error = errRefused
	var outcomes []State
	var s Saga[state]
	a := start(t, config{declare: func(setup *service.Setup) {
		s = Define(setup, "course", Pivot("p", nothing),
			quick(Then("t", func(ctx context.Context, _ state) error {
				mu.Lock()
				defer mu.Unlock()
				keys = append(keys, Key(ctx))
				return fail
			}), 1),
			End(func(_ context.Context, _ *store.Tx, _ state, o Outcome) error {
				mu.Lock()
				defer mu.Unlock()
				outcomes = append(outcomes, o.State)
				return nil
			}))
	}})
	resume := func(err error) Run[state] {
		mu.Lock()
		fail = err
		mu.Unlock()
		a.must(func(_ context.Context, tx *store.Tx) error { return s.Resume(tx, "1") })
		return wait(t, s, "1")
	}
	begin(a, s, "1")
	if run := wait(t, s, "1"); run.State != Parked {
		t.Fatalf("the run is %s", run.State)
	}
	resume(errPlain)
	if run := resume(nil); run.State != Completed {
		t.Errorf("the run is %s", run.State)
	}
	mu.Lock()
	defer mu.Unlock()
	if want := []string{"course/1/t", "course/1/t~1", "course/1/t~1"}; !slices.Equal(keys, want) {
		t.Errorf("the keys are %q, want %q: a new one after a refusal, the same after an unknown outcome", keys, want)
	}
	if want := []State{Parked, Parked, Completed}; !slices.Equal(outcomes, want) {
		t.Errorf("End was told %v, want %v", outcomes, want)
	}
	err := a.do(func(_ context.Context, tx *store.Tx) error { return s.Resume(tx, "1") })
	if f := fault.From(err); f == nil || f.Reason != "SAGA_NOT_PARKED" {
		t.Errorf("resuming a run that has ended says %v", err)
	}
}

func TestAnEndThatFailsIsTriedAgain(t *testing.T) { onEachStore(t, testAnEndThatFailsIsTriedAgain) }

func testAnEndThatFailsIsTriedAgain(t storeTest) {
	for name, last := range map[string]Step[state]{
		"after a call":                    Do("a", nothing).NoUndo(),
		"after a step in the transaction": DoTx("a", effect("a")).NoUndo(),
		"after compensation":              Do("a", func(context.Context, state) error { return errRefused }).NoUndo(),
	} {
		t.Run(name, func(t storeTest) {
			t.Parallel()
			var calls atomic.Int64
			var s Saga[state]
			a := start(t, config{declare: func(setup *service.Setup) {
				s = Define(setup, "course", last, End(func(ctx context.Context, tx *store.Tx, _ state, o Outcome) error {
					if err := write(ctx, tx, "end"); err != nil || calls.Add(1) < 3 {
						return errPlain
					}
					return nil
				}))
			}})
			begin(a, s, "1")
			run := wait(t, s, "1")
			if run.State == Parked || calls.Load() != 3 {
				t.Errorf("the run is %s after %d calls of End: %v", run.State, calls.Load(), run.Err)
			}
			ends := slices.DeleteFunc(a.effects(), func(s string) bool { return s != "end" })
			if len(ends) != 1 {
				t.Errorf("End took effect %d times", len(ends))
			}
		})
	}
}

func TestAnEndThatRefusesToParkDoesNotKeepARunFromParking(t *testing.T) {
	onEachStore(t, testAnEndThatRefusesToParkDoesNotKeepARunFromParking)
}

func testAnEndThatRefusesToParkDoesNotKeepARunFromParking(t storeTest) {
	var s Saga[state]
	a := start(t, config{declare: func(setup *service.Setup) {
		s = Define(setup, "course", Pivot("p", nothing), Then("t", func(context.Context, state) error { return errRefused }),
			End(func(ctx context.Context, tx *store.Tx, _ state, o Outcome) error { panic("no") }))
	}})
	begin(a, s, "1")
	if run := wait(t, s, "1"); run.State != Parked || run.Step != "t" {
		t.Errorf("the run is %s at %q", run.State, run.Step)
	}
}

func TestWhatAStepFindsInItsContext(t *testing.T) { onEachStore(t, testWhatAStepFindsInItsContext) }

func testWhatAStepFindsInItsContext(t storeTest) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	var key, out string
	var who auth.Principal
	var trace string
	var inside, tx bool
	var s Saga[state]
	a := start(t, config{declare: func(setup *service.Setup) {
		s = Define(setup, "course",
			Do("a", func(ctx context.Context, _ state) error {
				key, out, trace, inside = Key(ctx), rpc.OutgoingIdempotencyKey(ctx), telemetry.Traceparent(ctx), store.Inside(ctx)
				who, _ = auth.From(ctx)
				return nil
			}).NoUndo(),
			DoTx("b", func(ctx context.Context, _ *store.Tx, _ state) error { tx = store.Inside(ctx); return nil }).NoUndo())
	}})
	err := a.db.Do(telemetry.WithTraceparent(context.Background(), parent), func(_ context.Context, tx *store.Tx) error {
		s.Start(tx, "1", &structpb.Struct{})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	wait(t, s, "1")
	if key != "course/1/a" || out != key {
		t.Errorf("the keys are %q and %q", key, out)
	}
	if who.Service != "shop" {
		t.Errorf("the caller is %+v", who)
	}
	if inside || !tx {
		t.Errorf("inside a transaction: Do %t, DoTx %t", inside, tx)
	}
	if !strings.Contains(trace, "0af7651916cd43dd8448eb211c80319c") {
		t.Errorf("the trace is %q", trace)
	}
}

func TestADrainLetsTheAttemptFinishAndGivesTheRunBack(t *testing.T) {
	onEachStore(t, testADrainLetsTheAttemptFinishAndGivesTheRunBack)
}

func testADrainLetsTheAttemptFinishAndGivesTheRunBack(t storeTest) {
	dir, g, j := t.TempDir(), newGate(), &journal{}
	var s Saga[state]
	declare := func(setup *service.Setup) {
		s = Define(setup, "course", Do("a", g.pass).Undo(nothing), Do("b", j.does("b")).NoUndo())
	}
	a := start(t, config{dir: dir, declare: declare})
	begin(a, s, "1")
	<-g.at
	stopped := make(chan struct{})
	go func() { defer close(stopped); a.stop() }()
	await(t, "the drain begins", a.e.stopping)
	close(g.open)
	<-stopped
	if j.String() != "" {
		t.Errorf("called %q after the drain", j)
	}
	b := start(t, config{dir: dir, declare: declare})
	if run := wait(t, s, "1"); run.State != Completed || j.String() != "b" {
		t.Errorf("the run is %s, called %q: a was done before the drain", run.State, j)
	}
	b.stop()
}

func TestAnAttemptThatTheDrainCutsOffDoesNotCount(t *testing.T) {
	onEachStore(t, testAnAttemptThatTheDrainCutsOffDoesNotCount)
}

func testAnAttemptThatTheDrainCutsOffDoesNotCount(t storeTest) {
	dir := t.TempDir()
	var calls atomic.Int64
	at := make(chan struct{})
	var s Saga[state]
	declare := func(setup *service.Setup) {
		s = Define(setup, "course", Do("a", func(ctx context.Context, _ state) error {
			if calls.Add(1) > 1 {
				return nil
			}
			close(at)
			<-ctx.Done()
			return ctx.Err()
		}).Undo(nothing).Attempts(1))
	}
	a := start(t, config{dir: dir, declare: declare})
	begin(a, s, "1")
	<-at
	a.e.cancel(errDraining) // what drain does when its grace is over
	a.stop()
	start(t, config{dir: dir, declare: declare})
	if run := wait(t, s, "1"); run.State != Completed || calls.Load() != 2 {
		t.Errorf("the run is %s after %d calls", run.State, calls.Load())
	}
}

func TestAStepThatEndsItsGoroutineIsFoundAgain(t *testing.T) {
	onEachStore(t, testAStepThatEndsItsGoroutineIsFoundAgain)
}

func testAStepThatEndsItsGoroutineIsFoundAgain(t storeTest) {
	c := newClock()
	var calls atomic.Int64
	var s Saga[state]
	a := start(t, config{now: c.now, declare: func(setup *service.Setup) {
		s = Define(setup, "course", Do("a", func(context.Context, state) error {
			if calls.Add(1) == 1 {
				runtime.Goexit()
			}
			return nil
		}).Undo(nothing))
	}})
	begin(a, s, "1")
	await(t, "the step is called", func() bool { return calls.Load() > 0 })
	awaitIdle(t, a.e)
	c.advance(lease)
	a.e.wake()
	if run := wait(t, s, "1"); run.State != Completed {
		t.Errorf("the run is %s", run.State)
	}
}

// flaky fails some transactions before they begin.
type flaky struct {
	store.Opener
	fail func() bool
}

func (f flaky) Open(ctx context.Context, o store.OpenOptions) (store.Engine, error) {
	e, err := f.Opener.Open(ctx, o)
	return flakyEngine{e, f.fail}, err
}

type flakyEngine struct {
	store.Engine
	fail func() bool
}

func (e flakyEngine) Write(ctx context.Context, fn func(store.Conn) error) error {
	if e.fail() {
		return fmt.Errorf("disk full")
	}
	return e.Engine.Write(ctx, fn)
}

func TestAStoreThatFailsForAWhileLosesNothing(t *testing.T) {
	onEachStore(t, testAStoreThatFailsForAWhileLosesNothing)
}

func testAStoreThatFailsForAWhileLosesNothing(t storeTest) {
	var failing atomic.Int64
	p, j := newParticipant(), &journal{}
	var s Saga[state]
	a := start(t, config{faulty: true, store: flaky{t, func() bool { return failing.Add(-1) >= 0 }}, declare: func(setup *service.Setup) {
		s = Define(setup, "course", Do("a", func(ctx context.Context, st state) error {
			failing.Store(5)
			return p.do("a", nil)(ctx, st)
		}).Undo(nothing), Do("b", j.does("b")).NoUndo())
	}})
	begin(a, s, "1")
	if run := wait(t, s, "1"); run.State != Completed || p.calls != 1 || j.String() != "b" {
		t.Errorf("the run is %s, a was called %d times, then %q", run.State, p.calls, j)
	}
}

func TestHistoryIsBounded(t *testing.T) { onEachStore(t, testHistoryIsBounded) }

func testHistoryIsBounded(t storeTest) {
	j := &journal{}
	var s Saga[state]
	a := start(t, config{declare: func(setup *service.Setup) {
		s = Define(setup, "course", Do("a", j.does("a", times(100, errPlain)...)).NoUndo().Attempts(200).Backoff(1, 1))
	}})
	begin(a, s, "1")
	run := wait(t, s, "1")
	if run.State != Completed || len(run.History) != historyBound || run.History[0].Kind != "failed" || run.History[0].Detail != errPlain.Error() {
		t.Errorf("the run is %s with %d entries", run.State, len(run.History))
	}
	for i := range run.History[1:] {
		if run.History[i].Time.After(run.History[i+1].Time) {
			t.Error("the entries are not in order")
		}
	}
}

func TestMoreRunsThanAtOnceAllEnd(t *testing.T) { onEachStore(t, testMoreRunsThanAtOnceAllEnd) }

func testMoreRunsThanAtOnceAllEnd(t storeTest) {
	var s Saga[state]
	a := start(t, config{declare: func(setup *service.Setup) {
		s = Define(setup, "course", Do("a", nothing).NoUndo(), Sleep("nap", func(state) time.Duration { return time.Millisecond }), Do("b", nothing).NoUndo())
	}})
	const runs = 3 * runsAtOnce
	a.must(func(_ context.Context, tx *store.Tx) error {
		for i := range runs {
			s.Start(tx, fmt.Sprint(i), &structpb.Struct{})
		}
		return nil
	})
	for i := range runs {
		if run := wait(t, s, fmt.Sprint(i)); run.State != Completed {
			t.Errorf("run %d is %s", i, run.State)
		}
	}
	var infos []Info
	err := a.db.Read(context.Background(), func(ctx context.Context, q store.Querier) (err error) {
		infos, _, err = List(ctx, q, Filter{Saga: "course", States: []State{Completed}, Limit: 5})
		return err
	})
	if err != nil || len(infos) != 5 || infos[0].Saga != "course" || infos[0].State != Completed {
		t.Errorf("List gives %v, %v", infos, err)
	}
}

func TestActiveOfADatabaseWithoutSagas(t *testing.T) {
	onEachStore(t, testActiveOfADatabaseWithoutSagas)
}

func testActiveOfADatabaseWithoutSagas(t storeTest) {
	db := store.NewDB("bare")
	if err := db.Open(context.Background(), t, store.OpenOptions{Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	err := db.Read(context.Background(), func(ctx context.Context, q store.Querier) error {
		active, parked, err := Active(ctx, q)
		if active != 0 || parked != 0 {
			t.Errorf("%d active, %d parked", active, parked)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestOldRunsAreRemovedAndParkedOnesKept(t *testing.T) {
	onEachStore(t, testOldRunsAreRemovedAndParkedOnesKept)
}

func testOldRunsAreRemovedAndParkedOnesKept(t storeTest) {
	dir, c := t.TempDir(), newClock()
	var s Saga[state]
	declare := func(setup *service.Setup) {
		s = Define(setup, "course", Pivot("p", nothing), Then("t", func(_ context.Context, st state) error {
			if len(st.Fields) > 0 {
				return errRefused
			}
			return nil
		}))
	}
	a := start(t, config{dir: dir, now: c.now, declare: declare})
	begin(a, s, "ended")
	a.must(func(_ context.Context, tx *store.Tx) error {
		st := &structpb.Struct{}
		set(st, "fail", "yes")
		s.Start(tx, "parked", st)
		return nil
	})
	wait(t, s, "ended")
	wait(t, s, "parked")
	there := func() (ids []string) {
		for _, id := range []string{"ended", "parked"} {
			if _, err := s.Get(context.Background(), id); err == nil {
				ids = append(ids, id)
			}
		}
		return ids
	}
	c.advance(Retention - time.Minute)
	if err := a.e.sweep(context.Background()); err != nil || len(there()) != 2 {
		t.Errorf("before the time there are %v (%v)", there(), err)
	}
	c.advance(2 * time.Minute)
	if err := a.e.sweep(context.Background()); err != nil || !slices.Equal(there(), []string{"parked"}) {
		t.Errorf("after the time there are %v (%v)", there(), err)
	}
}

func TestAllRunsOfACrashGoOnAtOnce(t *testing.T) { onEachStore(t, testAllRunsOfACrashGoOnAtOnce) }

func testAllRunsOfACrashGoOnAtOnce(t storeTest) {
	dir := t.TempDir()
	var open atomic.Bool
	var s Saga[state]
	declare := func(setup *service.Setup) {
		s = Define(setup, "course", Do("a", func(ctx context.Context, _ state) error {
			if !open.Load() {
				<-ctx.Done()
			}
			return ctx.Err()
		}).NoUndo())
	}
	const runs = 3 * runsAtOnce
	a := start(t, config{dir: dir, declare: declare})
	a.must(func(_ context.Context, tx *store.Tx) error {
		for i := range runs {
			s.Start(tx, fmt.Sprint(i), &structpb.Struct{})
		}
		return nil
	})
	a.kill()
	open.Store(true)
	start(t, config{dir: dir, declare: declare})
	for i := range runs {
		if run := wait(t, s, fmt.Sprint(i)); run.State != Completed {
			t.Errorf("run %d is %s", i, run.State)
		}
	}
}

func TestASleepThatPanicsIsAFailedStep(t *testing.T) {
	onEachStore(t, testASleepThatPanicsIsAFailedStep)
}

func testASleepThatPanicsIsAFailedStep(t storeTest) {
	var s Saga[state]
	a := start(t, config{declare: func(setup *service.Setup) {
		s = Define(setup, "course", quick(Sleep("nap", func(state) time.Duration { panic("boom") }), 2))
	}})
	begin(a, s, "1")
	if run := wait(t, s, "1"); run.State != Compensated {
		t.Errorf("the run is %s", run.State)
	}
}

func TestAStateThatCannotBeStoredIsAFailedStep(t *testing.T) {
	onEachStore(t, testAStateThatCannotBeStoredIsAFailedStep)
}

func testAStateThatCannotBeStoredIsAFailedStep(t storeTest) {
	spoil := func(st state) { set(st, "text", "\xff") }
	for name, step := range map[string]Step[state]{
		"a call":                    Do("a", func(_ context.Context, st state) error { spoil(st); return nil }).NoUndo(),
		"a step in the transaction": DoTx("a", func(_ context.Context, _ *store.Tx, st state) error { spoil(st); return nil }).NoUndo(),
	} {
		t.Run(name, func(t storeTest) {
			t.Parallel()
			var s Saga[state]
			a := start(t, config{declare: func(setup *service.Setup) { s = Define(setup, "course", quick(step, 2)) }})
			begin(a, s, "1")
			if run := wait(t, s, "1"); run.State != Compensated || run.Cause == nil {
				t.Errorf("the run is %s: %v", run.State, run.Cause)
			}
		})
	}
}

func TestAStateThatCannotBeReadIsParkedAndKept(t *testing.T) {
	onEachStore(t, testAStateThatCannotBeReadIsParkedAndKept)
}

func testAStateThatCannotBeReadIsParkedAndKept(t storeTest) {
	dir, at := t.TempDir(), make(chan struct{})
	var s Saga[state]
	var told atomic.Bool
	declare := func(setup *service.Setup) {
		s = Define(setup, "course", Do("a", func(ctx context.Context, _ state) error { close(at); <-ctx.Done(); return ctx.Err() }).NoUndo(),
			End(func(context.Context, *store.Tx, state, Outcome) error { told.Store(true); return nil }))
	}
	a := start(t, config{dir: dir, declare: declare})
	begin(a, s, "1")
	<-at
	a.must(func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE argosy_saga_runs SET state = $1", []byte{0xff})
		return err
	})
	a.kill()
	b := start(t, config{dir: dir, declare: declare})
	awaitIdle(t, b.e)
	var kept []byte
	var status string
	await(t, "the run is parked", func() bool {
		err := b.db.Read(context.Background(), func(ctx context.Context, q store.Querier) error {
			return q.QueryRowContext(ctx, "SELECT status, state FROM argosy_saga_runs").Scan(&status, &kept)
		})
		if err != nil {
			t.Fatal(err)
		}
		return status == string(Parked)
	})
	if len(kept) != 1 || kept[0] != 0xff || told.Load() {
		t.Errorf("the state is %x, End was told: %t", kept, told.Load())
	}
}

func TestAResumedWaitIsStillWokenByItsSignal(t *testing.T) {
	onEachStore(t, testAResumedWaitIsStillWokenByItsSignal)
}

func testAResumedWaitIsStillWokenByItsSignal(t storeTest) {
	dir := t.TempDir()
	var s Saga[state]
	declare := func(name string) func(*service.Setup) {
		return func(setup *service.Setup) { s = Define(setup, "course", Await(name, taken)) }
	}
	a := start(t, config{dir: dir, declare: declare("go")})
	begin(a, s, "1")
	awaitStep(t, s, "1", "go")
	a.must(func(ctx context.Context, tx *store.Tx) error { // as a claim finds it
		_, err := tx.ExecContext(ctx, "UPDATE argosy_saga_runs SET due = 1")
		return err
	})
	a.stop()
	b := start(t, config{dir: dir, declare: declare("gone")}) // a program without the step
	if run := wait(t, s, "1"); run.State != Parked {
		t.Fatalf("the run is %s", run.State)
	}
	b.stop()
	c := start(t, config{dir: dir, declare: declare("go")})
	c.must(func(_ context.Context, tx *store.Tx) error { return s.Resume(tx, "1") })
	awaitStep(t, s, "1", "go")
	c.must(func(_ context.Context, tx *store.Tx) error { s.Signal(tx, "1", "go", nil); return nil })
	if run := wait(t, s, "1"); run.State != Completed {
		t.Errorf("the run is %s", run.State)
	}
}
