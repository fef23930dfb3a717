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

// An instance that stands still for longer than its lease, and then goes on,
// changes nothing of what the one that took over has done.
func TestAnInstanceThatStoodStillChangesNothing(t *testing.T) {
	onPostgres(t, testAnInstanceThatStoodStillChangesNothing)
}

func testAnInstanceThatStoodStillChangesNothing(t storeTest) {
	const runs = 20
	dir, c := t.TempDir(), newClock()
	var s Saga[state]
	var arrived sync.WaitGroup
	arrived.Add(runs)
	gate := make(chan struct{})
	declare := func(stands bool) func(*service.Setup) {
		return func(setup *service.Setup) {
			s = Define(setup, "course",
				DoTx("a", func(ctx context.Context, tx *store.Tx, st state) error {
					return write(ctx, tx, "a"+st.Fields["id"].GetStringValue())
				}).NoUndo(),
				Do("b", func(context.Context, state) error {
					if stands {
						arrived.Done()
						<-gate
					}
					return nil
				}).Undo(nothing),
				DoTx("c", func(ctx context.Context, tx *store.Tx, st state) error {
					return write(ctx, tx, "c"+st.Fields["id"].GetStringValue())
				}).NoUndo())
		}
	}
	still := start(t, config{dir: dir, now: c.now, name: "still", declare: declare(true)})
	theirs := s
	var want []string
	still.must(func(_ context.Context, tx *store.Tx) error {
		want = nil
		for i := range runs {
			id := fmt.Sprint(i)
			st := &structpb.Struct{}
			set(st, "id", id)
			theirs.Start(tx, id, st)
			want = append(want, "a"+id, "c"+id)
		}
		return nil
	})
	arrived.Wait()
	other := start(t, config{dir: dir, now: c.now, name: "other", declare: declare(false)})
	if err := other.e.claimLost(context.Background()); err != nil {
		t.Fatal(err)
	}
	if run, err := s.Get(context.Background(), "0"); err != nil || run.Holder != "still" {
		t.Errorf("before the lease is over the run is held by %q (%v)", run.Holder, err)
	}
	c.advance(lease + time.Second)
	other.e.wake()
	for i := range runs {
		if run := wait(t, s, fmt.Sprint(i)); run.State != Completed {
			t.Errorf("run %d is %s", i, run.State)
		}
	}
	close(gate) // the one that stood still goes on
	awaitIdle(t, still.e)
	got := other.effects()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the effects are %v, want each once", got)
	}
}

// Runs that wait may be claimed by any instance, and each is by one.
func TestARunThatWaitsIsClaimedByOneInstance(t *testing.T) {
	onPostgres(t, testARunThatWaitsIsClaimedByOneInstance)
}

func testARunThatWaitsIsClaimedByOneInstance(t storeTest) {
	const runs = 300
	dir := t.TempDir()
	var s Saga[state]
	var calls [2]atomic.Int64
	declare := func(n int) func(*service.Setup) {
		return func(setup *service.Setup) {
			s = Define(setup, "course", Sleep("nap", func(state) time.Duration { return time.Millisecond }),
				Do("a", func(context.Context, state) error { calls[n].Add(1); return nil }).NoUndo(),
				Sleep("again", func(state) time.Duration { return time.Millisecond }), DoTx("b", effect("b")).NoUndo())
		}
	}
	first := start(t, config{dir: dir, name: "first", declare: declare(0)})
	other := start(t, config{dir: dir, name: "second", declare: declare(1)})
	second := s
	for i := range runs {
		begin(first, Saga[state]{first.e, first.e.sagas["course"]}, fmt.Sprint(i))
		other.e.wake()
	}
	for i := range runs {
		if run := wait(t, second, fmt.Sprint(i)); run.State != Completed {
			t.Errorf("run %d is %s", i, run.State)
		}
	}
	if total := calls[0].Load() + calls[1].Load(); total != runs || len(first.effects()) != runs {
		t.Errorf("the step was called %d times and took effect %d times, for %d runs", total, len(first.effects()), runs)
	}
	t.Logf("%d and %d", calls[0].Load(), calls[1].Load())
}

func FuzzDecodeError(f *testing.F) {
	f.Add(encodeError(errRefused))
	f.Add(encodeError(errPlain))
	f.Add(`{"problem":{"code":"x","status":-1},"text":"t"}`)
	f.Add(`{`)
	f.Fuzz(func(t *testing.T, s string) {
		err := decodeError(s)
		if (err == nil) != (s == "") {
			t.Fatalf("decodeError(%q) = %v", s, err)
		}
		if err == nil {
			return
		}
		again := decodeError(encodeError(err))
		if again == nil || judge(again) != judge(err) {
			t.Errorf("%v came back as %v", err, again)
		}
	})
}
