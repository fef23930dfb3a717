package saga

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/store"
)

type state = *structpb.Struct

// journal is the outside world: what was called, in order.
type journal struct {
	mu    sync.Mutex
	calls []string
}

func (j *journal) add(s string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.calls = append(j.calls, s)
	n := 0
	for _, c := range j.calls {
		if c == s {
			n++
		}
	}
	return n
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.calls, " ")
}

// does is a step that is written down, and fails with the errors in turn.
func (j *journal) does(name string, errs ...error) func(context.Context, state) error {
	return func(context.Context, state) error {
		if n := j.add(name); n <= len(errs) {
			return errs[n-1]
		}
		return nil
	}
}

// writes is does in a transaction, counted once it is committed.
func (j *journal) writes(name string, errs ...error) func(context.Context, *store.Tx, state) error {
	return func(ctx context.Context, tx *store.Tx, _ state) error {
		if err := write(ctx, tx, name); err != nil {
			return err
		}
		if n := j.add(name); n <= len(errs) {
			return errs[n-1]
		}
		return nil
	}
}

var (
	errPlain   = errors.New("connection reset")
	errBusy    = fault.New(codes.Unavailable, "OVERLOADED", "shed").Refused()
	errRefused = fault.New(codes.FailedPrecondition, "DECLINED", "the card was declined")
	errDenied  = fault.New(codes.PermissionDenied, "DENIED", "not allowed")
)

// quick makes a step's retries quick.
func quick(s Step[state], attempts int) Step[state] {
	return s.Attempts(attempts).Backoff(time.Millisecond, 2*time.Millisecond)
}

func times(n int, err error) []error { return slices.Repeat([]error{err}, n) }

// course is a whole saga and what comes of it.
type course struct {
	name  string
	steps func(j *journal) []Step[state]
	calls string // what was called, in order
	state State
	err   string // the reason
}

// TestCourses runs whole sagas, also with each transaction run twice.
func TestCourses(t *testing.T) { onEachStore(t, testCourses) }

func testCourses(t storeTest) {
	for _, c := range slices.Concat(plainCourses(), pivotCourses(), waitingCourses(), branchCourses()) {
		t.Run(c.name, func(t storeTest) { t.Parallel(); c.run(t, false) })
		if t.kind == store.SQLite { // which store it is makes no difference to it
			t.Run(c.name+", each transaction twice", func(t storeTest) { t.Parallel(); c.run(t, true) })
		}
	}
}

func (c course) run(t storeTest, twice bool) {
	j := &journal{}
	var s Saga[state]
	var mu sync.Mutex
	var outcomes []State
	a := start(t, config{twice: twice, declare: func(setup *service.Setup) {
		s = Define(setup, "course", append(c.steps(j), End(func(ctx context.Context, tx *store.Tx, _ state, o Outcome) error {
			mu.Lock()
			defer mu.Unlock()
			outcomes = append(outcomes, o.State)
			return write(ctx, tx, string(o.State))
		}))...)
	}})
	begin(a, s, "1")
	run := wait(t, s, "1")
	if run.State != c.state {
		t.Errorf("the run is %s, want %s: %v", run.State, c.state, run.Err)
	}
	if got := j.String(); !twice && got != c.calls {
		t.Errorf("called %q, want %q", got, c.calls)
	}
	err := run.Cause
	if run.State == Parked {
		err = run.Err
	}
	if f := fault.From(err); c.err == "" && err != nil || c.err != "" && (f == nil || f.Reason != c.err) {
		t.Errorf("the error is %v, want %q", err, c.err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(outcomes) == 0 || outcomes[len(outcomes)-1] != c.state {
		t.Errorf("End was told %v", outcomes)
	}
	if e := a.effects(); len(e) == 0 || slices.Index(e, string(c.state)) != len(e)-1 {
		t.Errorf("the effects are %v: want exactly one %s, at the end", e, c.state)
	}
	if active, parked := count(t, a); active != 0 || parked != flag(c.state == Parked) {
		t.Errorf("active %d and parked %d", active, parked)
	}
}

// plainCourses are about steps before the pivot.
func plainCourses() []course {
	return []course{
		{"steps run in order", func(j *journal) []Step[state] {
			return []Step[state]{
				Do("a", j.does("a")).Undo(j.does("-a")), DoTx("b", j.writes("b")).UndoTx(j.writes("-b")), Do("c", j.does("c")).NoUndo(),
				Pivot("p", j.does("p")), Then("t", j.does("t")), ThenTx("u", j.writes("u")),
			}
		}, "a b c p t u", Completed, ""},
		{"a refusal undoes what was done, the last first, and not the refused step", func(j *journal) []Step[state] {
			return []Step[state]{
				Do("a", j.does("a")).Undo(j.does("-a")), DoTx("b", j.writes("b")).UndoTx(j.writes("-b")),
				Do("c", j.does("c")).NoUndo(), Do("d", j.does("d", errRefused)).Undo(j.does("-d")),
			}
		}, "a b c d -b -a", Compensated, "DECLINED"},
		{"an unknown outcome is asked again, and undone when the attempts end", func(j *journal) []Step[state] {
			return []Step[state]{Do("a", j.does("a")).Undo(j.does("-a")), quick(Do("b", j.does("b", times(9, errPlain)...)).Undo(j.does("-b")), 3)}
		}, "a b b b -b -a", Compensated, "INTERNAL"},
		{"what was certainly not done is tried again, and not undone", func(j *journal) []Step[state] {
			return []Step[state]{Do("a", j.does("a")).Undo(j.does("-a")), quick(Do("b", j.does("b", times(9, errBusy)...)).Undo(j.does("-b")), 3)}
		}, "a b b b -a", Compensated, "OVERLOADED"},
		{"a refusal after an unknown outcome undoes the step too", func(j *journal) []Step[state] {
			return []Step[state]{quick(Do("a", j.does("a", errPlain, errRefused)).Undo(j.does("-a")), 3)}
		}, "a a -a", Compensated, "DECLINED"},
		{"a step in a transaction that fails has no effect to undo", func(j *journal) []Step[state] {
			return []Step[state]{quick(DoTx("a", j.writes("a", times(9, errPlain)...)).UndoTx(j.writes("-a")), 2)}
		}, "a a", Compensated, "INTERNAL"},
		{"a failed attempt is made good by the next", func(j *journal) []Step[state] {
			return []Step[state]{quick(Do("a", j.does("a", errPlain, errBusy)).Undo(j.does("-a")), 5), quick(Pivot("p", j.does("p", errPlain)), 5), quick(Then("t", j.does("t", errPlain, errBusy)), 5)}
		}, "a a a p p t t t", Completed, ""},
	}
}

// pivotCourses are about the pivot and what follows it.
func pivotCourses() []course {
	return []course{
		{"a refused pivot compensates", func(j *journal) []Step[state] {
			return []Step[state]{Do("a", j.does("a")).Undo(j.does("-a")), Pivot("p", j.does("p", errRefused)), Then("t", j.does("t"))}
		}, "a p -a", Compensated, "DECLINED"},
		{"a pivot that was unknown and then refused on the facts compensates", func(j *journal) []Step[state] {
			return []Step[state]{Do("a", j.does("a")).Undo(j.does("-a")), quick(Pivot("p", j.does("p", errPlain, errRefused)), 5)}
		}, "a p p -a", Compensated, "DECLINED"},
		{"a pivot that was unknown and then turned away at the door parks", func(j *journal) []Step[state] {
			return []Step[state]{Do("a", j.does("a")).Undo(j.does("-a")), quick(Pivot("p", j.does("p", errPlain, errDenied)), 5)}
		}, "a p p", Parked, "DENIED"},
		{"a pivot that stays unknown parks", func(j *journal) []Step[state] {
			return []Step[state]{Do("a", j.does("a")).Undo(j.does("-a")), quick(Pivot("p", j.does("p", times(9, errPlain)...)), 3)}
		}, "a p p p", Parked, "INTERNAL"},
		{"a pivot that never got through compensates", func(j *journal) []Step[state] {
			return []Step[state]{Do("a", j.does("a")).Undo(j.does("-a")), quick(Pivot("p", j.does("p", times(9, errBusy)...)), 3)}
		}, "a p p p -a", Compensated, "OVERLOADED"},
		{"a refusal after the pivot parks", func(j *journal) []Step[state] {
			return []Step[state]{Do("a", j.does("a")).Undo(j.does("-a")), Pivot("p", j.does("p")), Then("t", j.does("t", errRefused))}
		}, "a p t", Parked, "DECLINED"},
		{"a step after the pivot that never succeeds parks", func(j *journal) []Step[state] {
			return []Step[state]{Pivot("p", j.does("p")), quick(ThenTx("t", j.writes("t", times(9, errPlain)...)), 3)}
		}, "p t t t", Parked, "INTERNAL"},
		{"an undo that never succeeds parks", func(j *journal) []Step[state] {
			return []Step[state]{
				Do("a", j.does("a")).Undo(j.does("-a")), quick(Do("b", j.does("b")).Undo(j.does("-b", times(9, errPlain)...)), 3).UndoAttempts(2),
				Do("c", j.does("c", errRefused)).NoUndo(),
			}
		}, "a b c -b -b", Parked, "INTERNAL"},
		{"an undo that is refused parks", func(j *journal) []Step[state] {
			return []Step[state]{Do("b", j.does("b")).Undo(j.does("-b", errDenied)), Do("c", j.does("c", errRefused)).NoUndo()}
		}, "b c -b", Parked, "DENIED"},
	}
}

// waitingCourses are about panics, deadlines and waits.
func waitingCourses() []course {
	return []course{
		{"a panic is an unknown outcome", func(j *journal) []Step[state] {
			return []Step[state]{quick(Do("a", func(context.Context, state) error { j.add("a"); panic("boom") }).Undo(j.does("-a")), 2)}
		}, "a a -a", Compensated, "PANIC"},
		{"an attempt that takes too long is an unknown outcome", func(j *journal) []Step[state] {
			return []Step[state]{quick(Do("a", func(ctx context.Context, _ state) error { j.add("a"); <-ctx.Done(); return ctx.Err() }).Undo(j.does("-a")), 2).Timeout(time.Millisecond)}
		}, "a a -a", Compensated, "DEADLINE_EXCEEDED"},
		{"a sleep passes", func(j *journal) []Step[state] {
			return []Step[state]{Do("a", j.does("a")).NoUndo(), Sleep("nap", func(state) time.Duration { return time.Millisecond }), Do("b", j.does("b")).NoUndo()}
		}, "a b", Completed, ""},
		{"a signal that does not come compensates", func(j *journal) []Step[state] {
			return []Step[state]{Do("a", j.does("a")).Undo(j.does("-a")), Await("paid", func(context.Context, *store.Tx, state, Signal) error { return nil }).Within(time.Millisecond)}
		}, "a -a", Compensated, "SIGNAL_TIMEOUT"},
		{"a signal that does not come is made good by Else", func(j *journal) []Step[state] {
			return []Step[state]{Await("paid", func(context.Context, *store.Tx, state, Signal) error { return nil }).Within(time.Millisecond).Else(j.writes("else")), Do("b", j.does("b")).NoUndo()}
		}, "else b", Completed, ""},
	}
}

func count(t testing.TB, a *app) (active, parked int) {
	t.Helper()
	err := a.db.Read(context.Background(), func(ctx context.Context, q store.Querier) (err error) {
		active, parked, err = Active(ctx, q)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return active, parked
}

func TestOnStepIsToldOfEachSuccessOnceInItsTransaction(t *testing.T) {
	onEachStore(t, testOnStepIsToldOfEachSuccessOnceInItsTransaction)
}

func testOnStepIsToldOfEachSuccessOnceInItsTransaction(t storeTest) {
	for _, twice := range []bool{false, true} {
		j := &journal{}
		var s Saga[state]
		a := start(t, config{twice: twice, declare: func(setup *service.Setup) {
			s = Define(setup, "trip",
				quick(Do("hotel", j.does("hotel", errPlain)), 3).Undo(j.does("-hotel")),
				DoTx("seat", j.writes("seat")).NoUndo(),
				Do("flight", j.does("flight", errRefused)).NoUndo(),
				OnStep(func(ctx context.Context, tx *store.Tx, st state, name string) error {
					st.Fields = nil // is dropped
					return write(ctx, tx, "told of "+name)
				}))
		}})
		begin(a, s, "1")
		wait(t, s, "1")
		if got := strings.Join(a.effects(), ", "); got != "told of hotel, seat, told of seat" {
			t.Errorf("the effects are %s", got)
		}
	}
}

func TestAFailingOnStepIsTriedAgain(t *testing.T) { onEachStore(t, testAFailingOnStepIsTriedAgain) }

func testAFailingOnStepIsTriedAgain(t storeTest) {
	var s Saga[state]
	tries := 0
	start := start(t, config{declare: func(setup *service.Setup) {
		s = Define(setup, "trip", Do("hotel", func(context.Context, state) error { return nil }).NoUndo(),
			OnStep(func(context.Context, *store.Tx, state, string) error {
				if tries++; tries < 3 {
					return errPlain
				}
				return nil
			}))
	}})
	begin(start, s, "1")
	if run := wait(t, s, "1"); run.State != Completed || tries != 3 {
		t.Errorf("%s after %d tries", run.State, tries)
	}
}

// OnStep is no step, so where it stands in the list moves no step's place.
func TestAnOnStepBeforeThePivotLeavesThePivotItsPlace(t *testing.T) {
	onEachStore(t, testAnOnStepBeforeThePivotLeavesThePivotItsPlace)
}

func testAnOnStepBeforeThePivotLeavesThePivotItsPlace(t storeTest) {
	var s Saga[state]
	a := start(t, config{declare: func(setup *service.Setup) {
		s = Define(setup, "trip",
			OnStep(func(context.Context, *store.Tx, state, string) error { return nil }),
			Do("hold", nothing).Undo(nothing),
			quick(Pivot("pay", func(context.Context, state) error { return errPlain }), 2))
	}})
	begin(a, s, "1")
	if run := wait(t, s, "1"); run.State != Parked {
		t.Errorf("a payment of unknown outcome left the run %s", run.State)
	}
}
