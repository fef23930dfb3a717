package saga

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/store"
)

// paid puts the signal's payload into the state.
func paid(_ context.Context, _ *store.Tx, st state, sig Signal) error {
	var m wrapperspb.StringValue
	if err := sig.Decode(&m); err != nil {
		return err
	}
	st.Fields = map[string]*structpb.Value{sig.Name: structpb.NewStringValue(m.Value)}
	return nil
}

func TestSignalsAreSafeAtAnyTime(t *testing.T) { onEachStore(t, testSignalsAreSafeAtAnyTime) }

func testSignalsAreSafeAtAnyTime(t storeTest) {
	begin := func(a *app, s Saga[state]) {
		a.must(func(_ context.Context, tx *store.Tx) error { s.Start(tx, "1", &structpb.Struct{}); return nil })
	}
	send := func(a *app, s Saga[state]) {
		a.must(func(_ context.Context, tx *store.Tx) error {
			s.Signal(tx, "1", "paid", wrapperspb.String("42"))
			return nil
		})
	}
	tests := map[string]func(t storeTest, a *app, s Saga[state], g gate){
		"before the run is started": func(t storeTest, a *app, s Saga[state], g gate) { close(g.open); send(a, s); begin(a, s) },
		"with the start": func(t storeTest, a *app, s Saga[state], g gate) {
			close(g.open)
			a.must(func(_ context.Context, tx *store.Tx) error {
				s.Start(tx, "1", &structpb.Struct{})
				s.Signal(tx, "1", "paid", wrapperspb.String("42"))
				return nil
			})
		},
		"before the step waits": func(t storeTest, a *app, s Saga[state], g gate) { begin(a, s); <-g.at; send(a, s); close(g.open) },
		"while the step waits": func(t storeTest, a *app, s Saga[state], g gate) {
			close(g.open)
			begin(a, s)
			awaitStep(t, s, "1", "paid")
			send(a, s)
		},
		"twice, the second too late": func(t storeTest, a *app, s Saga[state], g gate) {
			close(g.open)
			begin(a, s)
			send(a, s)
			wait(t, s, "1")
			send(a, s)
		},
	}
	for name, course := range tests {
		for _, twice := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", each transaction twice"}[twice], func(t storeTest) {
				t.Parallel()
				g := newGate()
				var s Saga[state]
				a := start(t, config{twice: twice, declare: func(set *service.Setup) {
					s = Define(set, "course", Do("a", g.pass).NoUndo(), Await("paid", paid))
				}})
				course(t, a, s, g)
				run := wait(t, s, "1")
				if got := run.Value.Fields["paid"].GetStringValue(); run.State != Completed || got != "42" {
					t.Errorf("the run is %s with %q: %v", run.State, got, run.Err)
				}
			})
		}
	}
}

func TestAFailedSignalFunctionGetsTheSameSignalAgain(t *testing.T) {
	onEachStore(t, testAFailedSignalFunctionGetsTheSameSignalAgain)
}

func testAFailedSignalFunctionGetsTheSameSignalAgain(t storeTest) {
	var got []string
	var s Saga[state]
	a := start(t, config{declare: func(set *service.Setup) {
		s = Define(set, "course", quick(Await("paid", func(ctx context.Context, tx *store.Tx, _ state, sig Signal) error {
			var m wrapperspb.StringValue
			if err := sig.Decode(&m); err != nil {
				return err
			}
			if got = append(got, m.Value); len(got) < 3 {
				return errPlain
			}
			return nil
		}), 5))
	}})
	a.must(func(_ context.Context, tx *store.Tx) error {
		s.Start(tx, "1", &structpb.Struct{})
		s.Signal(tx, "1", "paid", wrapperspb.String("first"))
		s.Signal(tx, "1", "paid", wrapperspb.String("second"))
		return nil
	})
	run := wait(t, s, "1")
	if run.State != Completed || len(got) != 3 || got[0] != "first" || got[1] != "first" || got[2] != "first" {
		t.Errorf("the run is %s, it got %q", run.State, got)
	}
}

func TestASignalThatNoStepAwaitsFailsTheTransaction(t *testing.T) {
	onEachStore(t, testASignalThatNoStepAwaitsFailsTheTransaction)
}

func testASignalThatNoStepAwaitsFailsTheTransaction(t storeTest) {
	var s Saga[state]
	a := start(t, config{declare: func(set *service.Setup) { s = Define(set, "course", Await("paid", paid)) }})
	err := a.do(func(_ context.Context, tx *store.Tx) error { s.Signal(tx, "1", "piad", nil); return nil })
	if fault.CodeOf(err) != codes.Internal {
		t.Errorf("the commit says %v", err)
	}
}

func TestASignalOfAnotherTypeIsAnError(t *testing.T) {
	onEachStore(t, testASignalOfAnotherTypeIsAnError)
}

func testASignalOfAnotherTypeIsAnError(t storeTest) {
	var s Saga[state]
	a := start(t, config{declare: func(set *service.Setup) { s = Define(set, "course", quick(Await("paid", paid), 2)) }})
	a.must(func(_ context.Context, tx *store.Tx) error {
		s.Start(tx, "1", &structpb.Struct{})
		s.Signal(tx, "1", "paid", wrapperspb.Int64(1))
		return nil
	})
	if run := wait(t, s, "1"); run.State != Compensated || run.Cause == nil {
		t.Errorf("the run is %s: %v", run.State, run.Cause)
	}
}

func TestASignalWakesARunOnlyWhenItWaitsForIt(t *testing.T) {
	onEachStore(t, testASignalWakesARunOnlyWhenItWaitsForIt)
}

func testASignalWakesARunOnlyWhenItWaitsForIt(t storeTest) {
	var s Saga[state]
	a := start(t, config{declare: func(set *service.Setup) {
		s = Define(set, "course", Sleep("long", func(state) time.Duration { return time.Hour }), Await("paid", paid))
	}})
	a.must(func(_ context.Context, tx *store.Tx) error { s.Start(tx, "1", &structpb.Struct{}); return nil })
	awaitStep(t, s, "1", "long")
	a.must(func(_ context.Context, tx *store.Tx) error { s.Signal(tx, "1", "paid", nil); return nil })
	if run, err := s.Get(context.Background(), "1"); err != nil || run.Step != "long" || time.Until(run.Due) < 50*time.Minute {
		t.Errorf("the run is at %q, due %v (%v)", run.Step, run.Due, err)
	}
}
