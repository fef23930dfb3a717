package saga

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/store"
)

const (
	// maxBody bounds what an operator may send, in bytes.
	maxBody = 64 << 10
	// maxActor and maxReason bound what is kept of who did something, and why.
	maxActor, maxReason = 200, 1000
)

// actorHeader names who sends an operator's request.
const actorHeader = "Argosy-Actor"

// admin mounts what operators ask of the service's sagas.
func (e *engine) admin() {
	handle := func(pattern string, f func(r *http.Request) (any, error)) {
		e.s.Admin(pattern, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			out, err := f(r)
			if err != nil {
				fault.WriteHTTP(w, fault.From(err))
				return
			}
			b, err := json.Marshal(out)
			if err != nil {
				fault.WriteHTTP(w, fault.From(err))
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(append(b, '\n')) // the caller has gone: nobody is left to be told
		}))
	}
	handle("GET /sagas", e.serveList)
	handle("GET /sagas/{saga}/runs/{id}", e.serveRun)
	handle("POST /sagas/{saga}/runs/{id}/{action}", e.serveAction)
}

// runJSON is a run as operators see it.
type runJSON struct {
	ID        string     `json:"id"`
	Saga      string     `json:"saga"`
	State     string     `json:"state"`
	Step      string     `json:"step"`
	Done      []string   `json:"done,omitempty"`
	Attempts  int        `json:"attempts"`
	Holder    string     `json:"holder,omitempty"`
	Epoch     int64      `json:"epoch"`
	CreatedAt time.Time  `json:"createdAt"`
	UpdatedAt time.Time  `json:"updatedAt"`
	EndedAt   *time.Time `json:"endedAt,omitempty"`
	NextAt    *time.Time `json:"nextAt,omitempty"`
	Deadline  *time.Time `json:"deadline,omitempty"`
	Cause     string     `json:"cause,omitempty"`
	Error     string     `json:"error,omitempty"`
}

func runOf(i Info) runJSON {
	return runJSON{
		ID: i.ID, Saga: i.Saga, State: i.State.word(), Step: i.Step, Done: i.Done, Attempts: i.Attempt, Holder: i.Holder, Epoch: i.Epoch,
		CreatedAt: i.Created, UpdatedAt: i.Updated, EndedAt: orNil(i.Ended), NextAt: orNil(i.Due), Deadline: orNil(i.Deadline),
		Cause: text(i.Cause), Error: text(i.Err),
	}
}

func orNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// eventJSON is an entry of a run's history.
type eventJSON struct {
	At      time.Time `json:"at"`
	What    string    `json:"what"`
	Step    string    `json:"step,omitempty"`
	Attempt int       `json:"attempt,omitempty"`
	Error   string    `json:"error,omitempty"`
	Actor   string    `json:"actor,omitempty"`
	Reason  string    `json:"reason,omitempty"`
}

// descriptionJSON is a run with what is known of it.
type descriptionJSON struct {
	runJSON
	Data    json.RawMessage `json:"data"`
	History []eventJSON     `json:"history"`
	Dropped int             `json:"dropped,omitempty"`
}

// states are those that a list may be asked for, by their words.
var states = map[string]State{
	Running.word(): Running, Compensating.word(): Compensating,
	string(Completed): Completed, string(Compensated): Compensated, string(Parked): Parked,
}

func (e *engine) serveList(r *http.Request) (any, error) {
	q := r.URL.Query()
	f := Filter{Saga: q.Get("saga"), ID: q.Get("key"), After: q.Get("after")}
	if s := q.Get("state"); s != "" {
		state, ok := states[s]
		if !ok {
			return nil, fault.Invalid("state", "must be running, compensating, completed, compensated or parked")
		}
		f.States = []State{state}
	}
	if s := q.Get("olderThan"); s != "" {
		age, err := time.ParseDuration(s)
		if err != nil || age < 0 {
			return nil, fault.Invalid("olderThan", "must be a duration like 90s, 15m or 24h")
		}
		f.Before = e.now().Add(-age)
	}
	if s := q.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > 1000 {
			return nil, fault.Invalid("limit", "must be 1 to 1000")
		}
		f.Limit = n
	}
	var infos []Info
	var next string
	err := e.db.Read(r.Context(), func(ctx context.Context, q store.Querier) (err error) {
		infos, next, err = List(ctx, q, f)
		return err
	})
	runs := make([]runJSON, len(infos))
	for i, info := range infos {
		runs[i] = runOf(info)
	}
	return map[string]any{"runs": runs, "next": next}, err
}

func (e *engine) serveRun(r *http.Request) (any, error) {
	return e.describe(r.Context(), r.PathValue("saga"), r.PathValue("id"))
}

func (e *engine) describe(ctx context.Context, saga, id string) (any, error) {
	d, err := Describe(ctx, e.db, saga, id)
	if err != nil {
		return nil, err
	}
	out := descriptionJSON{runJSON: runOf(d.Info), Data: d.Data, History: make([]eventJSON, len(d.History)), Dropped: d.Dropped}
	for i, ev := range d.History {
		out.History[i] = eventJSON{ev.Time, ev.Kind, ev.Step, ev.Attempt, ev.Detail, ev.Actor, ev.Reason}
	}
	return out, nil
}

func (e *engine) serveAction(r *http.Request) (any, error) {
	var body struct {
		Step   string `json:"step"`
		Reason string `json:"reason"`
	}
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&body); err != nil && !errors.Is(err, io.EOF) {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, fault.New(codes.ResourceExhausted, fault.ReasonTooLarge, "the body is longer than %d bytes", maxBody)
		}
		return nil, fault.New(codes.InvalidArgument, "INVALID_BODY", "the body must be a JSON object with step and reason, both texts").Wrap(err)
	}
	if len(body.Reason) > maxReason {
		return nil, fault.Invalid("reason", "must be at most %d bytes", maxReason)
	}
	actor := strings.TrimSpace(r.Header.Get(actorHeader))
	o := Order{
		Saga: r.PathValue("saga"), ID: r.PathValue("id"), Action: Action(r.PathValue("action")),
		Step: body.Step, Actor: clip(actor, maxActor), Reason: clip(body.Reason, maxReason),
	}
	if _, err := Operate(r.Context(), e.db, o); err != nil {
		return nil, err
	}
	return e.describe(r.Context(), o.Saga, o.ID)
}
