package saga

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/argosy-go/argosy/service"
)

func always(state) bool { return true }
func noWay(state) bool  { return false }

func items(names ...string) func(state) []string { return func(state) []string { return names } }

// keyed writes down the key and the item of each call.
func (j *journal) keyed(errs map[string]error) func(context.Context, state) error {
	return func(ctx context.Context, _ state) error {
		j.add(strings.TrimPrefix(Key(ctx), "course/1/") + "=" + Item(ctx))
		return errs[Key(ctx)]
	}
}

// branchCourses are about When and Each.
func branchCourses() []course {
	return []course{
		{"a When that says yes takes its steps", func(j *journal) []Step[state] {
			return []Step[state]{When("gift", always, Do("wrap", j.does("wrap")).NoUndo(), DoTx("card", j.writes("card")).NoUndo()), Do("b", j.does("b")).NoUndo()}
		}, "wrap card b", Completed, ""},
		{"a When that says no leaves them out", func(j *journal) []Step[state] {
			return []Step[state]{When("gift", noWay, Do("wrap", j.does("wrap")).NoUndo()), Do("b", j.does("b")).NoUndo()}
		}, "b", Completed, ""},
		{"the steps of a When are undone with the others", func(j *journal) []Step[state] {
			return []Step[state]{Do("a", j.does("a")).Undo(j.does("-a")), When("gift", always, Do("wrap", j.does("wrap")).Undo(j.does("-wrap"))), Do("b", j.does("b", errRefused)).NoUndo()}
		}, "a wrap b -wrap -a", Compensated, "DECLINED"},
		{"a When in a When, after the pivot", func(j *journal) []Step[state] {
			return []Step[state]{Pivot("p", j.does("p")), When("gift", always, When("dear", always, Then("insure", j.does("insure"))), When("cheap", noWay, Then("throw", j.does("throw")))), ThenTx("t", j.writes("t"))}
		}, "p insure t", Completed, ""},
		{"each item is a call with a key of its own", func(j *journal) []Step[state] {
			return []Step[state]{Each("lines", items("x", "y.1"), Do("reserve", j.keyed(nil)).Undo(j.keyed(nil)), Do("label", j.keyed(nil)).NoUndo())}
		}, "reserve/x=x label/x=x reserve/y.1=y.1 label/y.1=y.1", Completed, ""},
		{"each item is undone by itself, the last first", func(j *journal) []Step[state] {
			return []Step[state]{
				Each("lines", items("x", "y", "z"), Do("reserve", j.keyed(map[string]error{"course/1/reserve/z": errRefused})).Undo(j.keyed(nil))),
			}
		}, "reserve/x=x reserve/y=y reserve/z=z reserve/y/undo=y reserve/x/undo=x", Compensated, "DECLINED"},
		{"an item of unknown outcome is undone too", func(j *journal) []Step[state] {
			return []Step[state]{
				Each("lines", items("x", "y"), quick(Do("reserve", j.keyed(map[string]error{"course/1/reserve/y": errPlain})), 2).Undo(j.keyed(nil))),
			}
		}, "reserve/x=x reserve/y=y reserve/y=y reserve/y/undo=y reserve/x/undo=x", Compensated, "INTERNAL"},
		{"no items are no steps", func(j *journal) []Step[state] {
			return []Step[state]{Each("lines", items(), Do("reserve", j.does("reserve")).NoUndo()), Do("b", j.does("b")).NoUndo()}
		}, "b", Completed, ""},
		{"items after the pivot are retried until they are done", func(j *journal) []Step[state] {
			return []Step[state]{Pivot("p", j.does("p")), Each("lines", items("x", "y"), quick(Then("ship", j.does("ship", errPlain)), 3))}
		}, "p ship ship ship", Completed, ""},
		{"an item that no key can hold compensates", func(j *journal) []Step[state] {
			return []Step[state]{Do("a", j.does("a")).Undo(j.does("-a")), Each("lines", items("x y"), Do("reserve", j.does("reserve")).NoUndo())}
		}, "a -a", Compensated, "SAGA_ITEMS"},
		{"an item twice compensates", func(j *journal) []Step[state] {
			return []Step[state]{Each("lines", items("x", "x"), Do("reserve", j.does("reserve")).NoUndo())}
		}, "", Compensated, "SAGA_ITEMS"},
		{"a decision that panics compensates", func(j *journal) []Step[state] {
			return []Step[state]{Do("a", j.does("a")).Undo(j.does("-a")), quick(When("gift", func(state) bool { panic("boom") }, Do("b", j.does("b")).NoUndo()), 2)}
		}, "a -a", Compensated, "PANIC"},
	}
}

// What was decided stays decided, whatever the program says after a restart.
func TestADecisionOutlivesTheProgramThatMadeIt(t *testing.T) {
	onEachStore(t, testADecisionOutlivesTheProgramThatMadeIt)
}

func testADecisionOutlivesTheProgramThatMadeIt(t storeTest) {
	dir, g, j := t.TempDir(), newGate(), &journal{}
	var s Saga[state]
	list := func(yes bool, wrap func(context.Context, state) error, names ...string) func(*service.Setup) {
		return func(set *service.Setup) {
			s = Define(set, "course",
				Each("lines", items(names...), Do("reserve", j.keyed(nil)).Undo(j.keyed(nil))),
				When("gift", func(state) bool { return yes }, Do("wrap", wrap).NoUndo(), Do("card", j.does("card")).NoUndo()),
				Do("last", j.does("last")).NoUndo())
		}
	}
	a := start(t, config{dir: dir, declare: list(true, g.pass, "x", "y")})
	begin(a, s, "1")
	<-g.at
	a.dead.Store(true)
	close(g.open)
	a.kill()
	start(t, config{dir: dir, declare: list(false, j.does("wrap"), "z")})
	run := wait(t, s, "1")
	if want := "reserve/x=x reserve/y=y wrap card last"; run.State != Completed || j.String() != want {
		t.Errorf("the run is %s, called %q, want %q: %v", run.State, j, want, run.Err)
	}
	if want := []string{"lines", "reserve/x", "reserve/y", "gift", "wrap", "card", "last"}; !slices.Equal(run.Done, want) {
		t.Errorf("done are %q, want %q", run.Done, want)
	}
}

// A decision whose step fails afterwards is not made again.
func TestADecisionIsMadeOnce(t *testing.T) { onEachStore(t, testADecisionIsMadeOnce) }

func testADecisionIsMadeOnce(t storeTest) {
	var asked atomic.Int64
	j := &journal{}
	var s Saga[state]
	a := start(t, config{declare: func(set *service.Setup) {
		s = Define(set, "course", When("gift", func(state) bool { return asked.Add(1) == 1 }, quick(Do("wrap", j.does("wrap", errPlain, errPlain)).NoUndo(), 5)))
	}})
	begin(a, s, "1")
	if run := wait(t, s, "1"); run.State != Completed || j.String() != "wrap wrap wrap" || asked.Load() != 1 {
		t.Errorf("the run is %s, called %q, decided %d times", run.State, j, asked.Load())
	}
}

func TestMostItemsAreDone(t *testing.T) { onEachStore(t, testMostItemsAreDone) }

func testMostItemsAreDone(t storeTest) {
	names := make([]string, 200)
	for i := range names {
		names[i] = fmt.Sprint("item", i)
	}
	p := newParticipant()
	var s Saga[state]
	a := start(t, config{declare: func(set *service.Setup) {
		s = Define(set, "course", Each("lines", items(names...), Do("reserve", func(ctx context.Context, st state) error {
			return p.do("reserve/"+Item(ctx), nil)(ctx, st)
		}).NoUndo()))
	}})
	begin(a, s, "1")
	if run := wait(t, s, "1"); run.State != Completed || len(p.held) != len(names) {
		t.Errorf("the run is %s, and %d items are held: %v", run.State, len(p.held), run.Cause)
	}
}

func TestCallItemGivesTheItem(t *testing.T) {
	price := func(_ context.Context, city *wrapperspb.StringValue, _ ...grpc.CallOption) (*wrapperspb.StringValue, error) {
		return wrapperspb.String(city.GetValue() + "!"), nil
	}
	ask := CallItem(price,
		func(_ state, item string) *wrapperspb.StringValue { return wrapperspb.String(item) },
		func(st state, item string, res *wrapperspb.StringValue) { set(st, item, res.GetValue()) })
	onEachStore(t, func(t storeTest) {
		var s Saga[state]
		a := start(t, config{declare: func(setup *service.Setup) {
			s = Define(setup, "course", Each("cities", items("Rome", "Oslo"), Do("ask", ask).NoUndo()))
		}})
		begin(a, s, "1")
		run := wait(t, s, "1")
		if run.Value.Fields["Rome"].GetStringValue() != "Rome!" || run.Value.Fields["Oslo"].GetStringValue() != "Oslo!" {
			t.Errorf("the run is %s with %v", run.State, run.Value)
		}
	})
}

// branched is a course through a When and an Each, for the crash test.
func branched(p *participant) []Step[state] {
	each := func(f func(string) func(context.Context, state) error) func(context.Context, state) error {
		return func(ctx context.Context, st state) error { return f("line/"+Item(ctx))(ctx, st) }
	}
	return []Step[state]{
		Each("lines", items("x", "y"), Do("line", each(func(name string) func(context.Context, state) error { return p.do(name, nil) })).Undo(each(p.undo))),
		When("gift", always, DoTx("card", effect("card")).UndoTx(effect("-card"))),
		Pivot("p", p.do("p", errRefused)),
	}
}
