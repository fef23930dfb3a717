package saga

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/store"
)

func nothing(context.Context, state) error                   { return nil }
func nothingTx(context.Context, *store.Tx, state) error      { return nil }
func ended(context.Context, *store.Tx, state, Outcome) error { return nil }
func taken(context.Context, *store.Tx, state, Signal) error  { return nil }

func hour(state) time.Duration { return time.Hour }

func TestDefineRefuses(t *testing.T) {
	ok := Do("ok", nothing).NoUndo()
	tests := map[string]struct {
		steps []Step[state]
		want  string
	}{
		"a list without steps":              {nil, "no steps"},
		"a list with an End alone":          {[]Step[state]{End(ended)}, "no steps"},
		"a Do that does not say its undo":   {[]Step[state]{Do("a", nothing)}, `step "a": a Do must say how it is undone`},
		"a DoTx that does not say its undo": {[]Step[state]{DoTx("a", nothingTx)}, `step "a": a Do must say how it is undone`},
		"a Do with two undos":               {[]Step[state]{Do("a", nothing).Undo(nothing).NoUndo()}, "has one of Undo, UndoTx and NoUndo"},
		"a Then before the pivot":           {[]Step[state]{Then("a", nothing), Pivot("p", nothing)}, `step "a": a Then needs a pivot before it`},
		"a Then without a pivot":            {[]Step[state]{ok, Then("a", nothing)}, `step "a": a Then needs a pivot before it`},
		"a Do after the pivot":              {[]Step[state]{Pivot("p", nothing), ok}, `step "ok": a Do after the pivot can no longer be undone`},
		"two pivots":                        {[]Step[state]{Pivot("p", nothing), Pivot("q", nothing)}, `step "q": a second pivot; "p" is the pivot`},
		"a name twice":                      {[]Step[state]{ok, ok}, `step "ok": two steps have this name`},
		"a name that is none":               {[]Step[state]{Do("A b", nothing).NoUndo()}, `step "A b": the name must be`},
		"the name that keys of undos have":  {[]Step[state]{Do("undo", nothing).NoUndo()}, `step "undo": the name is reserved`},
		"an End that is not the last":       {[]Step[state]{End(ended), ok}, "End must be the last"},
		"two Ends":                          {[]Step[state]{ok, End(ended), End(ended)}, "End must be the last"},
		"an Undo of a Then":                 {[]Step[state]{Pivot("p", nothing), Then("t", nothing).Undo(nothing)}, "Undo is for Do steps, and this is a Then"},
		"a Within of a Sleep":               {[]Step[state]{Sleep("a", func(state) time.Duration { return 1 }).Within(time.Second)}, "Within is for Await, Do, Pivot and Then steps, and this is a Sleep"},
		"an Else without Within":            {[]Step[state]{Await("a", taken).Else(nothingTx)}, "Else needs Within"},
		"a pivot in a When":                 {[]Step[state]{When("w", always, Pivot("p", nothing))}, "a Pivot cannot be in When"},
		"an End in a When":                  {[]Step[state]{When("w", always, End(ended))}, "a End cannot be in When"},
		"a When in an Each":                 {[]Step[state]{Each("e", items(), When("w", always, ok))}, "a When cannot be in Each"},
		"an Await in an Each":               {[]Step[state]{Each("e", items(), Await("w", taken))}, "a Await cannot be in Each"},
		"a When without steps":              {[]Step[state]{When[state]("w", always)}, "When needs steps"},
		"an Each without steps":             {[]Step[state]{Each[state]("e", items())}, "Each needs steps"},
		"a When that cannot decide":         {[]Step[state]{When("w", nil, ok)}, "a function is nil"},
		"a name twice, once in a When":      {[]Step[state]{ok, When("w", always, ok)}, `step "ok": two steps have this name`},
		"a Do in a When without its undo":   {[]Step[state]{When("w", always, Do("a", nothing))}, `step "a": a Do must say how it is undone`},
		"a Then in an Each too early":       {[]Step[state]{Each("e", items(), Then("t", nothing)), Pivot("p", nothing)}, `step "t": a Then needs a pivot before it`},
		"two deadlines":                     {[]Step[state]{ok, Deadline(hour), Deadline(hour)}, "Deadline is given twice"},
		"a Deadline in a When":              {[]Step[state]{When("w", always, Deadline(hour))}, "a Deadline cannot be in When"},
		"an Undo of a When":                 {[]Step[state]{When("w", always, ok).Undo(nothing)}, "Undo is for Do steps, and this is a When"},
		"no attempts":                       {[]Step[state]{Do("a", nothing).NoUndo().Attempts(0)}, "Attempts must be positive"},
		"a backoff that shrinks":            {[]Step[state]{Do("a", nothing).NoUndo().Backoff(2, 1)}, "Backoff needs"},
		"a function that is nil":            {[]Step[state]{Do[state]("a", nil).NoUndo()}, "a function is nil"},
		"an undo that is nil":               {[]Step[state]{Do("a", nothing).Undo(nil)}, "a function is nil"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := service.New("shop", service.Options{})
			Define(s, "course", tt.steps...)
			if err := s.Err(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("the error is %v, want %q in it", err, tt.want)
			}
		})
	}
	t.Run("a saga twice", func(t *testing.T) {
		s := service.New("shop", service.Options{})
		Define(s, "course", ok)
		Define(s, "course", ok)
		if err := s.Err(); err == nil || !strings.Contains(err.Error(), "saga course is defined twice") {
			t.Errorf("the error is %v", err)
		}
	})
	t.Run("a state that is an interface", func(t *testing.T) {
		s := service.New("shop", service.Options{})
		Define(s, "course", Do("a", func(context.Context, proto.Message) error { return nil }).NoUndo())
		if err := s.Err(); err == nil || !strings.Contains(err.Error(), "not an interface") {
			t.Errorf("the error is %v", err)
		}
	})
}

func TestDefineDeclaresTheSaga(t *testing.T) {
	s := service.New("shop", service.Options{})
	Define(s, "course", Do("a", nothing).NoUndo())
	for _, e := range s.Edges() {
		if e.Kind == service.RunsSaga && e.Name == "course" {
			return
		}
	}
	t.Errorf("the edges are %v", s.Edges())
}

// changed is a run of [a b c] that stopped in b, and a new list.
func TestAChangedSagaGoesOnOnlyWhereItAgrees(t *testing.T) {
	onEachStore(t, testAChangedSagaGoesOnOnlyWhereItAgrees)
}

func testAChangedSagaGoesOnOnlyWhereItAgrees(t storeTest) {
	step := func(name string) Step[state] { return Do(name, nothing).Undo(nothing) }
	tests := map[string]struct {
		steps []Step[state]
		state State
	}{
		"the same list goes on":                {[]Step[state]{step("a"), step("b"), step("c")}, Completed},
		"a list with more behind it goes on":   {[]Step[state]{step("a"), step("b"), step("x"), step("c")}, Completed},
		"a list without the step is parked":    {[]Step[state]{step("a"), step("c")}, Parked},
		"a list with more before it is parked": {[]Step[state]{step("a"), step("x"), step("b"), step("c")}, Parked},
		"a list with less before it is parked": {[]Step[state]{step("b"), step("c")}, Parked},
	}
	for name, tt := range tests {
		t.Run(name, func(t storeTest) {
			t.Parallel()
			dir, at, gate := t.TempDir(), make(chan struct{}), make(chan struct{})
			var s Saga[state]
			old := start(t, config{dir: dir, declare: func(set *service.Setup) {
				s = Define(set, "course", step("a"), Do("b", func(context.Context, state) error { close(at); <-gate; return errPlain }).Undo(nothing), step("c"))
			}})
			old.must(func(_ context.Context, tx *store.Tx) error { s.Start(tx, "1", &structpb.Struct{}); return nil })
			<-at
			old.dead.Store(true)
			close(gate)
			old.kill()
			start(t, config{dir: dir, declare: func(set *service.Setup) { s = Define(set, "course", tt.steps...) }})
			run := wait(t, s, "1")
			if run.State != tt.state {
				t.Errorf("the run is %s, want %s: %v", run.State, tt.state, run.Err)
			}
			if tt.state == Parked && (run.Err == nil || !strings.Contains(run.Err.Error(), "SAGA_CHANGED")) {
				t.Errorf("it is parked for %v", run.Err)
			}
		})
	}
}
