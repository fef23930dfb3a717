package saga

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/store"
)

// Action is what an operator does to a run.
type Action string

// The actions. Each raises the run's epoch, so that what an instance has under
// way changes nothing any more, and is written into the history with who did it
// and why.
const (
	// Retry makes the run take its step now, with all its attempts: a run that
	// is parked, or that waits after a failed attempt. After a known refusal the
	// step asks under a new key, since the old one would repeat the refusal;
	// after an unknown outcome under the same, since the old one may have been
	// effective.
	Retry Action = "retry"
	// Skip takes the step as done, or as undone where the run goes back, without
	// calling it: a person has seen to it. It needs a reason. Where only End is
	// left the run ends without it. A When or an Each cannot be skipped: nobody
	// else knows what it decides.
	Skip Action = "skip"
	// Compensate turns a run round that goes forward, also one that is parked,
	// as long as its pivot has not succeeded. What may have been done of the step
	// under way is undone too; that the pivot had no effect is up to the operator.
	Compensate Action = "compensate"
	// Park stops a run that goes on or waits, until Resume.
	Park Action = "park"
	// Resume lets a parked run go on where it stopped: the Retry of a parked run.
	Resume Action = "resume"
	// Cancel is [Saga.Cancel]: it never ends a call that is under way, and comes
	// too late once the pivot is to be attempted.
	Cancel Action = "cancel"
)

// Order is what an operator wants of a run.
type Order struct {
	// Saga and ID name the run.
	Saga, ID string
	Action   Action
	// Step is the step that the operator believes the run to be at; at another
	// one nothing is done. Empty: whichever it is.
	Step string
	// Actor is who does it; empty: "unknown".
	Actor string
	// Reason is why, for the history. Skip needs one.
	Reason string
}

// The errors of [Operate].
var (
	// ErrAction: the action is not one that the state of the run allows.
	ErrAction = fault.New(codes.FailedPrecondition, "SAGA_ACTION", "the state of the run does not allow this")
	// ErrStep: the run is at another step than the operator believes.
	ErrStep = fault.New(codes.FailedPrecondition, "SAGA_STEP", "the run is at another step")
	// ErrReason: the action needs a reason.
	ErrReason = fault.New(codes.InvalidArgument, "SAGA_REASON", "the action needs a reason")
	// ErrOrder: there is no such action.
	ErrOrder = fault.New(codes.InvalidArgument, "SAGA_UNKNOWN_ACTION", "there is no such action")
)

// Operate does what an operator wants of a run of the service that owns db, and
// returns the run as it then is. What the run's state does not allow is refused
// and changes nothing.
func Operate(ctx context.Context, db *store.DB, o Order) (Info, error) {
	e := store.Find[engine](db)
	if e == nil {
		return Info{}, key{o.Saga, o.ID}.missing()
	}
	var info Info
	err := db.Do(ctx, func(_ context.Context, tx *store.Tx) (err error) {
		info, err = e.operate(tx, o)
		return err
	})
	return info, err
}

// operate is Operate in a transaction.
func (e *engine) operate(tx *store.Tx, o Order) (Info, error) {
	ctx, k := tx.Context(), key{o.Saga, o.ID}
	if o.Actor == "" {
		o.Actor = "unknown"
	}
	r, err := load(ctx, tx, k)
	if errors.Is(err, sql.ErrNoRows) {
		return Info{}, k.missing()
	}
	if err != nil {
		return Info{}, fmt.Errorf("%s saga %s %s: %w", o.Action, k.saga, k.id, err)
	}
	if o.Step != "" && o.Step != r.step {
		return Info{}, ErrStep.WithMessage("the run is at step %q, not at %q", r.step, o.Step)
	}
	d := e.sagas[k.saga]
	if d == nil && o.Action != Park {
		return Info{}, ErrChanged.WithMessage("the program does not define saga %q", k.saga)
	}
	if d != nil {
		if err := d.agree(r); !r.over() && err != nil && o.Action != Park {
			return Info{}, ErrChanged.Wrap(err)
		}
		if r.original, err = d.decode(r.state); err != nil && o.Action != Park {
			return Info{}, ErrChanged.Wrap(err)
		}
	}
	if o.Action == Cancel {
		return e.cancelAs(tx, r, o)
	}
	m, err := e.ordered(d, r, o)
	if err != nil {
		return Info{}, err
	}
	n, err := e.override(ctx, tx, r, m)
	if err != nil {
		return Info{}, fmt.Errorf("%s saga %s %s: %w", o.Action, k.saga, k.id, err)
	}
	tx.AfterCommit(func() {
		if r.status == Parked {
			e.meters.parked.Dec()
		}
		e.s.Log().Warn("an operator has changed a run", "saga", k.saga, "run", k.id, "action", string(o.Action), "step", r.step, "actor", o.Actor, "reason", o.Reason)
		e.moved(r, n)
		e.stir()
	})
	return n.info(), nil
}

// override stores an operator's move with a new epoch: whoever has the run now
// loses it.
func (e *engine) override(ctx context.Context, tx *store.Tx, r *record, m move) (*record, error) {
	res, err := tx.ExecContext(ctx, "UPDATE argosy_saga_runs SET epoch = epoch + 1 WHERE saga = $1 AND id = $2 AND epoch = $3", r.saga, r.id, r.epoch)
	if err != nil {
		return nil, err
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return nil, errors.Join(err, errLost)
	}
	r.epoch++
	m.next.epoch = r.epoch
	if m.next.held() { // nobody has it yet: whoever polls first takes it
		m.next.rest(e.now().UnixMicro())
	}
	var end *endError
	n, err := e.store(ctx, tx, r, given(m))
	if errors.As(err, &end) && m.next.status == Parked { // park without it
		m.endless = true
		n, err = e.store(ctx, tx, r, given(m))
	}
	return n, err
}

// given is the plan of a move that is known.
func given(m move) plan {
	return func(context.Context, *store.Tx, *record) (move, error) {
		m := m
		m.next = m.next.fork()
		return m, nil
	}
}

// ordered makes the move of an order, if the run's state allows it.
func (e *engine) ordered(d *definition, r *record, o Order) (move, error) {
	no := func(why string) (move, error) {
		return move{}, ErrAction.WithMessage("cannot %s run %q of saga %s, which is %s at step %q: %s", o.Action, r.id, r.saga, r.status.word(), r.step, why)
	}
	now := e.now()
	event := func(kind string) []Event {
		return []Event{{Kind: kind, Step: r.step, Detail: detail(r), Actor: o.Actor, Reason: o.Reason}}
	}
	if r.status == Completed || r.status == Compensated {
		if o.Action == Resume {
			return move{}, ErrNotParked.WithMessage("run %q of saga %s is %s, not parked", r.id, r.saga, r.status)
		}
		return no("it has ended")
	}
	n := r.fork()
	under := r.held() && r.holder != ""
	if under { // it may have had its effect
		n.doubt = true
	}
	if r.status == Parked {
		n.status, n.resumes = r.resumes, ""
	}
	switch o.Action {
	case Resume, Retry:
		switch {
		case o.Action == Resume && r.status != Parked:
			return move{}, ErrNotParked.WithMessage("run %q of saga %s is %s, not parked", r.id, r.saga, r.status.word())
		case under:
			return no("the step is under way: park it first")
		case r.status != Parked && r.attempt == 0:
			return no("no attempt has failed")
		case n.doubt && now.Sub(micros(n.begun)) > KeyLife:
			return move{}, ErrKeyExpired.WithMessage("the step %q began at %s: see whether it was done, and skip it or compensate", r.step, micros(r.begun))
		}
		n.again(d, now)
		return move{next: n, quiet: true, log: event(map[Action]string{Resume: "resumed", Retry: "retried"}[o.Action])}, nil
	case Skip:
		if o.Reason == "" {
			return move{}, ErrReason.WithMessage("skipping a step needs a reason")
		}
		return e.skipped(d, r, n, event("skipped"), no)
	case Compensate:
		at := d.step(n.step)
		switch {
		case n.status != forward:
			return no("it is being undone already")
		case n.pivoted && (at == nil || at.kind != kindPivot):
			return no("its pivot has succeeded: make good what it did in another way")
		case n.pivoted && r.status != Parked:
			return no("its pivot is under way: park it first")
		}
		n.compensate(d, "", now, ErrCancelled.WithMessage("compensated by %s: %s", o.Actor, o.Reason), n.doubt)
		return move{next: n, quiet: true, log: event("compensate")}, nil
	case Park:
		if r.status == Parked {
			return no("it is parked")
		}
		n.park(ErrParked.WithMessage("parked by %s: %s", o.Actor, o.Reason), false)
		return move{next: n, endless: r.original == nil, log: event("parked")}, nil
	}
	return move{}, ErrOrder.WithMessage("there is no action %q", o.Action)
}

// again makes the step begin anew, with all its attempts and its time.
func (r *record) again(d *definition, now time.Time) {
	r.attempt, r.err, r.crashes = 0, "", 0
	if s := d.step(r.step); s != nil && s.limited() {
		r.wake = now.Add(s.within).UnixMicro()
	}
	r.rest(now.UnixMicro())
}

// skipped makes the move of a step that a person has seen to.
func (e *engine) skipped(d *definition, r, n *record, log []Event, no func(string) (move, error)) (move, error) {
	s, now := d.step(r.step), e.now()
	switch {
	case r.step == "":
		return move{next: n, endless: true, log: log}, nil
	case s == nil:
		return move{}, ErrChanged.WithMessage("the program has no step %q in saga %q", r.step, r.saga)
	case n.status == backward:
		n.pop(d, "", now)
		return move{next: n, quiet: true, log: log}, nil
	case s.decides():
		return no("nobody else knows what it decides")
	}
	next, err := d.after(r.step, r.choices)
	if err != nil {
		return move{}, ErrChanged.Wrap(err)
	}
	n.done = add(r.done, r.step)
	n.enter(d, next, "", now)
	return move{next: n, quiet: true, log: log}, nil
}

// cancelAs is an operator's cancel: refused when it comes too late.
func (e *engine) cancelAs(tx *store.Tx, r *record, o Order) (Info, error) {
	ctx := tx.Context()
	if r.status != forward || r.pivoted || r.cancel {
		return Info{}, ErrAction.WithMessage("cannot cancel run %q of saga %s, which is %s at step %q", r.id, r.saga, r.status.word(), r.step)
	}
	// The mark makes whoever holds the run read its row again, with what is
	// added to its history here.
	if _, err := e.cancelRun(tx, r.key, o.Reason); err != nil {
		return Info{}, err
	}
	ev := Event{Kind: "cancelled", Step: r.step, Actor: o.Actor, Reason: o.Reason}
	if _, err := tx.ExecContext(ctx, "UPDATE argosy_saga_runs SET events = events + 1 WHERE saga = $1 AND id = $2", r.saga, r.id); err != nil {
		return Info{}, err
	}
	if err := remember(ctx, tx, r.key, r.events, e.now().UnixMicro(), ev); err != nil {
		return Info{}, err
	}
	r, err := load(ctx, tx, r.key)
	if err != nil {
		return Info{}, err
	}
	return r.info(), nil
}

// detail is the error that the operator found.
func detail(r *record) string {
	if err := decodeError(r.err); err != nil {
		return err.Error()
	}
	return ""
}

// word is a state for people.
func (s State) word() string {
	switch s {
	case Running:
		return "running"
	case Compensating:
		return "compensating"
	}
	return string(s)
}
