package saga

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/store"
)

// gate is a step that says when it was reached, and waits to be let through.
type gate struct{ at, open chan struct{} }

func newGate() gate { return gate{make(chan struct{}), make(chan struct{})} }

func (g gate) pass(ctx context.Context, _ state) error {
	close(g.at)
	<-g.open
	return ctx.Err() // a cancel must not end the call
}

func cancel(t storeTest, a *app, s Saga[state], id string) (ok bool, err error) {
	t.Helper()
	err = a.do(func(_ context.Context, tx *store.Tx) (err error) {
		ok, err = s.Cancel(tx, id, "changed my mind")
		return err
	})
	return ok, err
}

func TestCancel(t *testing.T) { onEachStore(t, testCancel) }

func testCancel(t storeTest) {
	tests := []struct {
		name  string
		steps func(j *journal, g gate) []Step[state]
		want  bool
		calls string
	}{
		{"before the pivot it undoes all, also the step under way", func(j *journal, g gate) []Step[state] {
			return []Step[state]{Do("a", j.does("a")).Undo(j.does("-a")), Do("b", g.pass).Undo(j.does("-b")), Pivot("p", j.does("p"))}
		}, true, "a -b -a"},
		{"in the last step of a saga without a pivot it undoes all", func(j *journal, g gate) []Step[state] {
			return []Step[state]{Do("a", j.does("a")).Undo(j.does("-a")), Do("b", g.pass).Undo(j.does("-b"))}
		}, true, "a -b -a"},
		{"once the pivot is attempted it changes nothing", func(j *journal, g gate) []Step[state] {
			return []Step[state]{Do("a", j.does("a")).Undo(j.does("-a")), Pivot("p", g.pass), Then("t", j.does("t"))}
		}, false, "a t"},
		{"after the pivot it changes nothing", func(j *journal, g gate) []Step[state] {
			return []Step[state]{Pivot("p", j.does("p")), Then("t", g.pass)}
		}, false, "p"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t storeTest) {
			t.Parallel()
			j, g := &journal{}, newGate()
			var s Saga[state]
			a := start(t, config{declare: func(set *service.Setup) { s = Define(set, "course", tt.steps(j, g)...) }})
			a.must(func(_ context.Context, tx *store.Tx) error { s.Start(tx, "1", &structpb.Struct{}); return nil })
			<-g.at
			for range 2 { // again is the same
				if got, err := cancel(t, a, s, "1"); got != tt.want || err != nil {
					t.Errorf("Cancel says %t, %v, want %t", got, err, tt.want)
				}
			}
			close(g.open)
			run := wait(t, s, "1")
			if want := map[bool]State{true: Compensated, false: Completed}[tt.want]; run.State != want {
				t.Errorf("the run is %s, want %s", run.State, want)
			}
			if got := j.String(); got != tt.calls {
				t.Errorf("called %q, want %q", got, tt.calls)
			}
			if f := fault.From(run.Cause); tt.want && (f == nil || f.Reason != "RUN_CANCELLED" || f.Message != "changed my mind") {
				t.Errorf("the cause is %v", run.Cause)
			}
			if got, err := cancel(t, a, s, "1"); got != tt.want || err != nil {
				t.Errorf("after the end Cancel says %t, %v, want %t", got, err, tt.want)
			}
		})
	}
}

func TestCancelWakesARunThatWaits(t *testing.T) { onEachStore(t, testCancelWakesARunThatWaits) }

func testCancelWakesARunThatWaits(t storeTest) {
	j, g := &journal{}, newGate()
	var s Saga[state]
	a := start(t, config{declare: func(set *service.Setup) {
		s = Define(set, "course", Do("a", j.does("a")).Undo(j.does("-a")), Await("go", taken),
			Sleep("long", func(state) time.Duration { return time.Hour }), Pivot("p", j.does("p")))
	}})
	close(g.open)
	a.must(func(_ context.Context, tx *store.Tx) error { s.Start(tx, "1", &structpb.Struct{}); return nil })
	if ok, err := cancel(t, a, s, "1"); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if run := wait(t, s, "1"); run.State != Compensated {
		t.Errorf("the run is %s", run.State)
	}
}

func TestCancelOfNoRunIsNotFound(t *testing.T) { onEachStore(t, testCancelOfNoRunIsNotFound) }

func testCancelOfNoRunIsNotFound(t storeTest) {
	var s Saga[state]
	a := start(t, config{declare: func(set *service.Setup) { s = Define(set, "course", Do("a", nothing).NoUndo()) }})
	if ok, err := cancel(t, a, s, "1"); ok || fault.CodeOf(err) != codes.NotFound {
		t.Error(ok, err)
	}
}

// A cancel that races the pivot either wins, and then the pivot is not called
// and all is undone, or loses, and then the run completes.
func TestCancelRacesThePivot(t *testing.T) { onEachStore(t, testCancelRacesThePivot) }

func testCancelRacesThePivot(t storeTest) {
	var mu sync.Mutex
	captured := map[string]bool{}
	note := func(_ context.Context, st state) error {
		mu.Lock()
		defer mu.Unlock()
		captured[st.Fields["id"].GetStringValue()] = true
		return nil
	}
	var s Saga[state]
	a := start(t, config{declare: func(set *service.Setup) {
		s = Define(set, "course", Do("a", nothing).Undo(nothing), Do("b", nothing).Undo(nothing), Pivot("p", note), Then("t", nothing))
	}})
	var group sync.WaitGroup
	answers := make([]bool, 300)
	for i := range answers {
		id := fmt.Sprint(i)
		a.must(func(_ context.Context, tx *store.Tx) error {
			s.Start(tx, id, &structpb.Struct{Fields: map[string]*structpb.Value{"id": structpb.NewStringValue(id)}})
			return nil
		})
		group.Go(func() {
			var err error
			if answers[i], err = cancel(t, a, s, id); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	won := 0
	for i, ok := range answers {
		run := wait(t, s, fmt.Sprint(i))
		mu.Lock()
		called := captured[run.ID]
		mu.Unlock()
		if ok {
			won++
		}
		if ok && (run.State != Compensated || called) || !ok && (run.State != Completed || !called) {
			t.Errorf("run %d: Cancel said %t, the run is %s, the pivot was called: %t", i, ok, run.State, called)
		}
	}
	t.Logf("%d of %d cancels won", won, len(answers))
}

func TestStart(t *testing.T) { onEachStore(t, testStart) }

func testStart(t storeTest) {
	var s, other Saga[state]
	a := start(t, config{declare: func(set *service.Setup) { s = Define(set, "course", Do("a", nothing).NoUndo()) }})
	start(t, config{declare: func(set *service.Setup) { other = Define(set, "course", Do("a", nothing).NoUndo()) }})
	begin := func(s Saga[state], id string) error {
		return a.do(func(_ context.Context, tx *store.Tx) error { s.Start(tx, id, &structpb.Struct{}); return nil })
	}
	if err := begin(s, "1"); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		saga Saga[state]
		id   string
		code codes.Code
	}{
		"the same id again":             {s, "1", codes.AlreadyExists},
		"an empty id":                   {s, "", codes.InvalidArgument},
		"an id that no key can hold":    {s, "a b", codes.InvalidArgument},
		"the saga of another service":   {other, "2", codes.Internal},
		"a saga that was never defined": {Saga[state]{}, "2", codes.Internal},
	}
	for name, tt := range tests {
		t.Run(name, func(t storeTest) {
			if err := begin(tt.saga, tt.id); fault.CodeOf(err) != tt.code {
				t.Errorf("the commit says %v, want %v", err, tt.code)
			}
		})
	}
	t.Run("a transaction that rolls back starts nothing", func(t storeTest) {
		err := a.do(func(_ context.Context, tx *store.Tx) error { s.Start(tx, "3", &structpb.Struct{}); return errPlain })
		if !errors.Is(err, errPlain) {
			t.Fatal(err)
		}
		if _, err := s.Get(context.Background(), "3"); fault.CodeOf(err) != codes.NotFound {
			t.Errorf("the run is there: %v", err)
		}
	})
	t.Run("a failed Try starts nothing, and the transaction goes on", func(t storeTest) {
		wait(t, s, "1") // who drives it would be in conflict with the transaction
		a.must(func(ctx context.Context, tx *store.Tx) error {
			if err := tx.Try(ctx, func(_ context.Context, tx *store.Tx) error { s.Start(tx, "1", &structpb.Struct{}); return nil }); fault.CodeOf(err) != codes.AlreadyExists {
				t.Errorf("Try says %v", err)
			}
			s.Start(tx, "4", &structpb.Struct{})
			return nil
		})
		if run := wait(t, s, "4"); run.State != Completed {
			t.Errorf("the run is %s", run.State)
		}
	})
}
