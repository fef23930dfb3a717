package saga

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/store"
)

// orderOf does what an operator wants of run 1 of the saga "course".
func orderOf(a *app, action Action, step string) (Info, error) {
	return Operate(context.Background(), a.db, Order{Saga: "course", ID: "1", Action: action, Step: step, Actor: "ann", Reason: "ticket 7"})
}

// audited reports whether the run's history says what ann did.
func audited(run Run[state], kind string) bool {
	return slices.ContainsFunc(run.History, func(ev Event) bool {
		return ev.Kind == kind && ev.Actor == "ann" && ev.Reason == "ticket 7"
	})
}

// Each action, in each state of a run: what it does, or that it is refused and
// changes nothing.
func TestOperatorsDoWhatTheStateAllows(t *testing.T) {
	onEachStore(t, testOperatorsDoWhatTheStateAllows)
}

func testOperatorsDoWhatTheStateAllows(t storeTest) {
	long := func(s Step[state]) Step[state] { return s.Backoff(time.Hour, time.Hour) }
	type steps = func(j *journal) []Step[state]
	undoable := func(j *journal, name string, errs ...error) Step[state] {
		return Do(name, j.does(name, errs...)).Undo(j.does("-" + name))
	}
	// The states a run may be in.
	pausing := func(j *journal) []Step[state] { // it waits after a failed attempt
		return []Step[state]{undoable(j, "a"), long(undoable(j, "b", errPlain)), Pivot("p", j.does("p"))}
	}
	waiting := func(j *journal) []Step[state] {
		return []Step[state]{undoable(j, "a"), Await("b", taken), Pivot("p", j.does("p"))}
	}
	parkedAfter := func(j *journal) []Step[state] { // the pivot
		return []Step[state]{undoable(j, "a"), Pivot("p", j.does("p")), Then("b", j.does("b", errRefused)), Then("c", j.does("c"))}
	}
	parkedAt := func(j *journal) []Step[state] { // the pivot, whose outcome is unknown
		return []Step[state]{undoable(j, "a"), quick(Pivot("b", j.does("b", errPlain, errPlain)), 2)}
	}
	undoing := func(j *journal) []Step[state] { // parked while it goes back
		return []Step[state]{undoable(j, "a"), Do("b", j.does("b")).Undo(j.does("-b", errDenied)), Do("c", j.does("c", errRefused)).NoUndo()}
	}
	deciding := func(j *journal) []Step[state] { // the decision fails
		return []Step[state]{undoable(j, "a"), long(When("b", func(state) bool { panic("no") }, undoable(j, "c")))}
	}
	completed := func(j *journal) []Step[state] { return []Step[state]{undoable(j, "b")} }
	tests := map[string]struct {
		steps  steps
		action Action
		want   string // the reason of the refusal, or the kind in the history
		state  State  // in the end
		calls  string
	}{
		"retry a run that pauses":                      {pausing, Retry, "retried", Completed, "a b b p"},
		"skip a step that fails":                       {pausing, Skip, "skipped", Completed, "a b p"},
		"compensate a run that pauses, with its step":  {pausing, Compensate, "compensate", Compensated, "a b -b -a"},
		"park a run that pauses":                       {pausing, Park, "parked", Parked, "a b"},
		"cancel a run that pauses":                     {pausing, Cancel, "cancelled", Compensated, "a b -b -a"},
		"resume a run that is not parked":              {pausing, Resume, "SAGA_NOT_PARKED", "", "a b"},
		"retry a run that waits":                       {waiting, Retry, "SAGA_ACTION", "", "a"},
		"skip a wait":                                  {waiting, Skip, "skipped", Completed, "a p"},
		"compensate a run that waits":                  {waiting, Compensate, "compensate", Compensated, "a -a"},
		"park a run that waits":                        {waiting, Park, "parked", Parked, "a"},
		"cancel a run that waits":                      {waiting, Cancel, "cancelled", Compensated, "a -a"},
		"retry a run that is parked after its pivot":   {parkedAfter, Retry, "retried", Completed, "a p b b c"},
		"resume a run that is parked after its pivot":  {parkedAfter, Resume, "resumed", Completed, "a p b b c"},
		"skip a step that is parked":                   {parkedAfter, Skip, "skipped", Completed, "a p b c"},
		"compensate after the pivot":                   {parkedAfter, Compensate, "SAGA_ACTION", "", "a p b"},
		"cancel after the pivot":                       {parkedAfter, Cancel, "SAGA_ACTION", "", "a p b"},
		"park a run that is parked":                    {parkedAfter, Park, "SAGA_ACTION", "", "a p b"},
		"compensate a pivot of unknown outcome":        {parkedAt, Compensate, "compensate", Compensated, "a b b -a"},
		"resume a pivot of unknown outcome":            {parkedAt, Resume, "resumed", Completed, "a b b b"},
		"skip a pivot that was found to have happened": {parkedAt, Skip, "skipped", Completed, "a b b"},
		"resume an undo":                               {undoing, Resume, "resumed", Compensated, "a b c -b -b -a"},
		"skip an undo":                                 {undoing, Skip, "skipped", Compensated, "a b c -b -a"},
		"compensate what goes back":                    {undoing, Compensate, "SAGA_ACTION", "", "a b c -b"},
		"cancel what goes back":                        {undoing, Cancel, "SAGA_ACTION", "", "a b c -b"},
		"skip a decision":                              {deciding, Skip, "SAGA_ACTION", "", "a"},
		"retry a run that has ended":                   {completed, Retry, "SAGA_ACTION", "", "b"},
		"resume a run that has ended":                  {completed, Resume, "SAGA_NOT_PARKED", "", "b"},
		"skip in a run that has ended":                 {completed, Skip, "SAGA_ACTION", "", "b"},
		"compensate a run that has ended":              {completed, Compensate, "SAGA_ACTION", "", "b"},
		"park a run that has ended":                    {completed, Park, "SAGA_ACTION", "", "b"},
		"cancel a run that has ended":                  {completed, Cancel, "SAGA_ACTION", "", "b"},
		"what is no action":                            {pausing, "dance", "SAGA_UNKNOWN_ACTION", "", "a b"},
	}
	for name, tt := range tests {
		t.Run(name, func(t storeTest) {
			t.Parallel()
			j := &journal{}
			var s Saga[state]
			a := start(t, config{declare: func(set *service.Setup) { s = Define(set, "course", tt.steps(j)...) }})
			begin(a, s, "1")
			var before Run[state]
			await(t, "the run stands still", func() (still bool) {
				var err error
				before, err = s.Get(context.Background(), "1")
				if err != nil {
					t.Fatal(err)
				}
				return before.Over() || before.Holder == "" && before.Step == "b" && (before.Due.IsZero() || time.Until(before.Due) > time.Minute)
			})
			info, err := orderOf(a, tt.action, "")
			if tt.state == "" { // refused
				after, gerr := s.Get(context.Background(), "1")
				if gerr != nil || reason(err) != tt.want || after.Epoch != before.Epoch || after.State != before.State || len(after.History) != len(before.History) {
					t.Errorf("it says %v, and the run is %s", err, after.State)
				}
			} else {
				if err != nil {
					t.Fatal(err)
				}
				if tt.action != Cancel && info.Epoch <= before.Epoch {
					t.Errorf("the epoch is %d and was %d: whoever has the run could go on", info.Epoch, before.Epoch)
				}
				run := wait(t, s, "1")
				if run.State != tt.state || !audited(run, tt.want) {
					t.Errorf("the run is %s, with the history %+v: %v", run.State, run.History, run.Err)
				}
			}
			if got := j.String(); got != tt.calls {
				t.Errorf("called %q, want %q", got, tt.calls)
			}
		})
	}
}

// What an instance has under way when an operator takes the run away from it
// changes nothing.
func TestAnOperatorTakesARunFromItsInstance(t *testing.T) {
	onEachStore(t, testAnOperatorTakesARunFromItsInstance)
}

func testAnOperatorTakesARunFromItsInstance(t storeTest) {
	for name, tt := range map[string]struct {
		action Action
		state  State
		calls  string
	}{
		"by parking":      {Park, Parked, ""},
		"by skipping":     {Skip, Completed, "c"},
		"by compensating": {Compensate, Compensated, "-b"},
		"not by a retry":  {Retry, Completed, "c"},
		"not by resuming": {Resume, Completed, "c"},
	} {
		t.Run(name, func(t storeTest) {
			t.Parallel()
			g, j := newGate(), &journal{}
			var s Saga[state]
			a := start(t, config{declare: func(setup *service.Setup) {
				s = Define(setup, "course", Do("b", func(ctx context.Context, st state) error { set(st, "b", "x"); return g.pass(ctx, st) }).Undo(j.does("-b")), Do("c", j.does("c")).NoUndo())
			}})
			begin(a, s, "1")
			<-g.at
			_, err := orderOf(a, tt.action, "b")
			if refused := strings.HasPrefix(name, "not"); refused != (err != nil) {
				t.Errorf("it says %v", err)
			}
			close(g.open)
			run := wait(t, s, "1")
			awaitIdle(t, a.e)
			if run.State != tt.state || j.String() != tt.calls {
				t.Errorf("the run is %s, called %q, want %s and %q", run.State, j, tt.state, tt.calls)
			}
			if kept := run.Value.Fields["b"] != nil; kept != (tt.action == Retry || tt.action == Resume) {
				t.Errorf("what the instance had under way was stored: %t", kept)
			}
		})
	}
}

func TestASkipNeedsAReasonAndTheRightStep(t *testing.T) {
	onEachStore(t, testASkipNeedsAReasonAndTheRightStep)
}

func testASkipNeedsAReasonAndTheRightStep(t storeTest) {
	var s Saga[state]
	a := start(t, config{declare: func(set *service.Setup) { s = Define(set, "course", Await("b", taken)) }})
	begin(a, s, "1")
	awaitStep(t, s, "1", "b")
	for want, o := range map[string]Order{
		"SAGA_REASON":    {Saga: "course", ID: "1", Action: Skip},
		"SAGA_STEP":      {Saga: "course", ID: "1", Action: Skip, Step: "a", Reason: "r"},
		"SAGA_NOT_FOUND": {Saga: "course", ID: "2", Action: Skip, Reason: "r"},
	} {
		if _, err := Operate(context.Background(), a.db, o); reason(err) != want {
			t.Errorf("%v says %v, want %s", o, err, want)
		}
	}
}

func TestAnEndThatNeverSucceedsIsSkipped(t *testing.T) {
	onEachStore(t, testAnEndThatNeverSucceedsIsSkipped)
}

func testAnEndThatNeverSucceedsIsSkipped(t storeTest) {
	var s Saga[state]
	a := start(t, config{declare: func(set *service.Setup) {
		s = Define(set, "course", Do("a", nothing).NoUndo(), End(func(context.Context, *store.Tx, state, Outcome) error { return errPlain }))
	}})
	begin(a, s, "1")
	await(t, "End has failed", func() bool {
		run, err := s.Get(context.Background(), "1")
		return err == nil && run.Step == "" && run.Attempt > 0 && run.Holder == ""
	})
	if _, err := orderOf(a, Park, ""); err != nil { // its End fails too, and it is parked all the same
		t.Fatal(err)
	}
	if run := wait(t, s, "1"); run.State != Parked {
		t.Errorf("the run is %s", run.State)
	}
	if _, err := orderOf(a, Skip, ""); err != nil {
		t.Fatal(err)
	}
	if run := wait(t, s, "1"); run.State != Completed || !audited(run, "skipped") {
		t.Errorf("the run is %s", run.State)
	}
}

func TestListsOfRunsGoOnWhereTheyEnded(t *testing.T) {
	onEachStore(t, testListsOfRunsGoOnWhereTheyEnded)
}

func testListsOfRunsGoOnWhereTheyEnded(t storeTest) {
	c := newClock()
	var waits, ends Saga[state]
	a := start(t, config{now: c.now, declare: func(set *service.Setup) {
		waits = Define(set, "waits", Await("b", taken))
		ends = Define(set, "ends", Do("a", nothing).NoUndo())
	}})
	var want []string
	for i := range 25 { // several of one time
		if i%3 == 0 {
			c.advance(time.Minute)
		}
		id := string(rune('a' + i))
		begin(a, waits, id)
		want = append(want, "waits/"+id)
	}
	slices.Reverse(want)
	begin(a, ends, "a")
	wait(t, ends, "a")
	list := func(f Filter) (ids []string) {
		t.Helper()
		for {
			var infos []Info
			err := a.db.Read(context.Background(), func(ctx context.Context, q store.Querier) (err error) {
				infos, f.After, err = List(ctx, q, f)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if len(infos) > max(f.Limit, 1) {
				t.Errorf("a page of %d", len(infos))
			}
			for _, i := range infos {
				ids = append(ids, i.Saga+"/"+i.ID)
			}
			if f.After == "" {
				return ids
			}
		}
	}
	for name, tt := range map[string]struct {
		f    Filter
		want []string
	}{
		"by saga":          {Filter{Saga: "waits", Limit: 4}, want},
		"by state":         {Filter{States: []State{Running, Parked}, Limit: 7}, want},
		"by another state": {Filter{States: []State{Completed}, Limit: 7}, []string{"ends/a"}},
		"by key":           {Filter{ID: "c", Limit: 7}, []string{"waits/c"}},
		"by age":           {Filter{Saga: "waits", Before: c.now().Add(-7 * time.Minute), Limit: 2}, want[len(want)-3:]},
	} {
		if got := list(tt.f); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
	err := a.db.Read(context.Background(), func(ctx context.Context, q store.Querier) error {
		_, _, err := List(ctx, q, Filter{After: "nonsense"})
		return err
	})
	if reason(err) != "SAGA_CURSOR" {
		t.Errorf("a cursor that is none says %v", err)
	}
}

// operators serves what the service mounts for operators.
func operators(a *app) http.Handler {
	mux := http.NewServeMux()
	for _, h := range a.s.AdminHandlers() {
		mux.Handle(h.Pattern, h.Handler)
	}
	return mux
}

func ask(t storeTest, h http.Handler, method, path, body string) (int, map[string]any) {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Argosy-Actor", "ann")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var out map[string]any
	if err := json.NewDecoder(bytes.NewReader(w.Body.Bytes())).Decode(&out); err != nil {
		t.Fatalf("%s %s: %v in %q", method, path, err, w.Body)
	}
	return w.Code, out
}

func TestOperatorsWorkOverHTTP(t *testing.T) { onEachStore(t, testOperatorsWorkOverHTTP) }

func testOperatorsWorkOverHTTP(t storeTest) {
	const id = "a/b%2F?c" // any id goes through a URL
	var healed atomic.Bool
	var s Saga[state]
	a := start(t, config{declare: func(setup *service.Setup) {
		s = Define(setup, "course", Pivot("p", nothing), Then("b", func(context.Context, state) error {
			if healed.Load() {
				return nil
			}
			return errRefused
		}))
	}})
	st := &structpb.Struct{}
	set(st, "color", "red")
	a.must(func(_ context.Context, tx *store.Tx) error { s.Start(tx, id, st); return nil })
	wait(t, s, id)
	h, path := operators(a), "/sagas/course/runs/"+url.PathEscape(id)

	code, out := ask(t, h, "GET", "/sagas?saga=course&state=parked&key="+url.QueryEscape(id)+"&limit=5", "")
	runs, _ := out["runs"].([]any)
	if code != 200 || len(runs) != 1 || out["next"] != "" {
		t.Fatalf("the list is %d %v", code, out)
	}
	run, _ := runs[0].(map[string]any)
	for field, want := range map[string]any{"id": id, "saga": "course", "state": "parked", "step": "b", "attempts": 1.0, "error": "FailedPrecondition DECLINED: the card was declined"} {
		if run[field] != want {
			t.Errorf("the list says %s is %v, want %v", field, run[field], want)
		}
	}
	if code, out := ask(t, h, "GET", "/sagas?olderThan=1h", ""); code != 200 || len(out["runs"].([]any)) != 0 {
		t.Errorf("runs older than an hour: %d %v", code, out)
	}
	code, out = ask(t, h, "GET", path, "")
	data, _ := out["data"].(map[string]any)
	history, _ := out["history"].([]any)
	if code != 200 || data["color"] != "red" || len(history) != 1 || history[0].(map[string]any)["what"] != "parked" {
		t.Errorf("the run is %d %v", code, out)
	}
	healed.Store(true)
	if code, out = ask(t, h, "POST", path+"/retry", `{"step":"b","reason":"fixed"}`); code != 200 || out["state"] != "running" && out["state"] != "completed" {
		t.Errorf("retry says %d %v", code, out)
	}
	done := wait(t, s, id)
	if last := done.History[len(done.History)-1]; done.State != Completed || last.Actor != "ann" || last.Reason != "fixed" {
		t.Errorf("the run is %s, with %+v", done.State, done.History)
	}
	for _, tt := range []struct {
		method, path, body string
		code               int
		reason             string
	}{
		{"GET", "/sagas?state=odd", "", 400, "INVALID_REQUEST"},
		{"GET", "/sagas?limit=1001", "", 400, "INVALID_REQUEST"},
		{"GET", "/sagas?olderThan=soon", "", 400, "INVALID_REQUEST"},
		{"GET", "/sagas?after=x", "", 400, "SAGA_CURSOR"},
		{"GET", "/sagas/course/runs/none", "", 404, "SAGA_NOT_FOUND"},
		{"POST", path + "/park", "", 400, "SAGA_ACTION"},
		{"POST", path + "/dance", "{}", 400, "SAGA_ACTION"},
		{"POST", path + "/park", "[]", 400, "INVALID_BODY"},
		{"POST", path + "/park", `{"what":1}`, 400, "INVALID_BODY"},
		{"POST", path + "/park", `{"reason":"` + strings.Repeat("x", 70<<10) + `"}`, 413, "PAYLOAD_TOO_LARGE"},
	} {
		code, out := ask(t, h, tt.method, tt.path, tt.body)
		if code != tt.code || out["reason"] != tt.reason {
			t.Errorf("%s %s says %d %v, want %d %s", tt.method, tt.path, code, out, tt.code, tt.reason)
		}
	}
}
