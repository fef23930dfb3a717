package saga

import (
	"context"
	"fmt"
	"slices"
	"strings"
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

// replica starts one of several processes of the service on one store.
func replica(t storeTest, dir, name string, now func() time.Time, declare func(*service.Setup)) *app {
	return start(t, config{dir: dir, name: name, now: now, declare: declare})
}

// Many instances share the runs: each step takes effect once, all take part,
// and one that stood still past its lease writes nothing.
func TestManyInstancesShareTheRuns(t *testing.T) { onPostgres(t, testManyInstancesShareTheRuns) }

func testManyInstancesShareTheRuns(t storeTest) {
	const instances, runs = 5, 200
	dir, c := t.TempDir(), newClock()
	gate, stuck := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var stale atomic.Int64
	sagas := make([]Saga[state], instances)
	apps := make([]*app, instances)
	for i := range apps {
		apps[i] = replica(t, dir, fmt.Sprint("i", i), c.now, func(setup *service.Setup) {
			sagas[i] = Define(setup, "course",
				Sleep("nap", func(state) time.Duration { return 0 }), // anybody may go on
				Do("a", func(context.Context, state) error {
					if i == 0 {
						once.Do(func() { close(stuck) })
						stale.Add(1)
						<-gate
					}
					return nil
				}).Undo(nothing),
				DoTx("b", func(ctx context.Context, tx *store.Tx, st state) error {
					return write(ctx, tx, fmt.Sprint(i, "/", st.Fields["id"].GetStringValue()))
				}).NoUndo())
		})
	}
	for i := range runs {
		id := fmt.Sprint(i)
		st := &structpb.Struct{}
		set(st, "id", id)
		n := i % instances
		apps[n].must(func(_ context.Context, tx *store.Tx) error { sagas[n].Start(tx, id, st); return nil })
	}
	<-stuck // the first has claimed some, and stands still
	awaitOthers := func() (left int) {
		err := apps[1].db.Read(context.Background(), func(ctx context.Context, q store.Querier) error {
			return q.QueryRowContext(ctx, "SELECT COUNT(*) FROM argosy_saga_runs WHERE status = 'forward' AND holder <> 'i0'").Scan(&left)
		})
		if err != nil {
			t.Fatal(err)
		}
		return left
	}
	await(t, "the others have done theirs", func() bool { return awaitOthers() == 0 })
	c.advance(lease + time.Second)
	for _, a := range apps[1:] {
		if err := a.db.Do(context.Background(), a.e.beat); err != nil { // they live, the first does not
			t.Fatal(err)
		}
		a.e.wake()
	}
	for i := range runs {
		if run := wait(t, sagas[1], fmt.Sprint(i)); run.State != Completed {
			t.Errorf("run %d is %s", i, run.State)
		}
	}
	close(gate)
	awaitIdle(t, apps[0].e)
	by, seen := map[string]int{}, map[string]bool{}
	for _, what := range apps[1].effects() {
		who, id, _ := strings.Cut(what, "/")
		by[who]++
		if seen[id] {
			t.Errorf("run %s took effect twice", id)
		}
		seen[id] = true
	}
	if len(seen) != runs || by["0"] != 0 || stale.Load() == 0 {
		t.Errorf("%d of %d runs took effect, by %v; the one that stood still had %d under way", len(seen), runs, by, stale.Load())
	}
	if len(by) < 2 {
		t.Errorf("the runs were shared by %v", by)
	}
}

// A run that one instance stores as due is picked up by another at once, and
// whoever waits for its end at a third is told: without polling.
func TestInstancesHintEachOther(t *testing.T) { onPostgres(t, testInstancesHintEachOther) }

func testInstancesHintEachOther(t storeTest) {
	dir := t.TempDir()
	sagas := make([]Saga[state], 2)
	apps := make([]*app, 2)
	for i := range apps {
		apps[i] = replica(t, dir, fmt.Sprint("i", i), nil, func(setup *service.Setup) { sagas[i] = Define(setup, "course", Await("go", taken)) })
	}
	heard := make(chan struct{}, 1)
	defer apps[1].db.Listen(topicOver, func() {
		select {
		case heard <- struct{}{}:
		default:
		}
	})()
	begin(apps[0], sagas[0], "1")
	awaitStep(t, sagas[1], "1", "go")
	apps[1].must(func(_ context.Context, tx *store.Tx) error { sagas[1].Signal(tx, "1", "go", nil); return nil })
	if run := wait(t, sagas[0], "1"); run.State != Completed {
		t.Errorf("the run is %s", run.State)
	}
	select {
	case <-heard:
	case <-time.After(patience):
		t.Error("the other instance was not told of the end")
	}
}

// While a new program is rolled out the old one leaves its runs alone; the new
// one goes on with those of the old one. A run that nobody claims is an alarm.
func TestInstancesClaimOnlyVersionsThatTheyKnow(t *testing.T) {
	onPostgres(t, testInstancesClaimOnlyVersionsThatTheyKnow)
}

func testInstancesClaimOnlyVersionsThatTheyKnow(t storeTest) {
	dir, c, j := t.TempDir(), newClock(), &journal{}
	var before, after Saga[state]
	step := func(name string) Step[state] { return Do(name, j.does(name)).Undo(nothing) }
	oldProgram := func(setup *service.Setup) { before = Define(setup, "course", Await("go", taken), step("a")) }
	newProgram := func(setup *service.Setup) {
		after = Define(setup, "course", Await("go", taken), step("new"), step("a"))
	}
	older := replica(t, dir, "older", c.now, oldProgram)
	begin(older, before, "old")
	newer := replica(t, dir, "newer", c.now, newProgram)
	begin(newer, after, "new")
	awaitStep(t, before, "new", "go")
	newer.stop()
	older.must(func(_ context.Context, tx *store.Tx) error { before.Signal(tx, "new", "go", nil); return nil })
	for range 3 { // it looks, and leaves it
		if _, err := older.e.claimDue(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if run, err := before.Get(context.Background(), "new"); err != nil || run.State != Running || run.Step != "go" || run.Holder != "" {
		t.Errorf("the old program made the new run %s at %q, held by %q (%v)", run.State, run.Step, run.Holder, err)
	}
	c.advance(lease + time.Second)
	if err := older.e.census(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := metric(t, older, "argosy_saga_unclaimed"); got != 1 {
		t.Errorf("%v runs are said to be unclaimed", got)
	}
	older.stop()
	newer = replica(t, dir, "newest", c.now, newProgram)
	newer.must(func(_ context.Context, tx *store.Tx) error { after.Signal(tx, "old", "go", nil); return nil })
	for _, id := range []string{"old", "new"} {
		if run := wait(t, after, id); run.State != Completed || !slices.Contains(run.Done, "new") {
			t.Errorf("run %s is %s and has done %v", id, run.State, run.Done)
		}
	}
}
