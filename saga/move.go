package saga

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/store"
)

// move is what a transition changes: the run's next row, the new state, and
// what to write into the history.
type move struct {
	next    *record
	state   proto.Message // nil: as it was
	encoded []byte        // the state as it is stored; nil: not encoded yet
	log     []Event
	quiet   bool // store the row as it is: do not end the run
	endless bool // end the run without its End
}

// plan computes a move from the run's row, inside the transaction that stores
// it. It may be called more than once.
type plan func(ctx context.Context, tx *store.Tx, r *record) (move, error)

// endError is a failure of the End function.
type endError struct{ err error }

func (e *endError) Error() string { return fmt.Sprintf("the End function failed: %v", e.err) }
func (e *endError) Unwrap() error { return e.err }

// pure makes a plan of a function that needs no transaction.
func pure(f func(r *record) move) plan {
	return func(_ context.Context, _ *store.Tx, r *record) (move, error) { return f(r), nil }
}

// commit runs p and stores its move in one transaction.
func (e *engine) commit(ctx context.Context, r *record, p plan) (*record, error) {
	var out *record
	err := e.db.Do(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
		out, err = e.store(ctx, tx, r, p)
		return err
	})
	return out, err
}

// store runs p and stores its move in a transaction.
func (e *engine) store(ctx context.Context, tx *store.Tx, r *record, p plan) (*record, error) {
	m, err := p(ctx, tx, r)
	if err != nil {
		return nil, err
	}
	n, d := m.next, e.sagas[r.saga]
	n.original = r.original
	if m.state != nil {
		n.original, n.state = m.state, m.encoded
		if n.state == nil {
			if n.state, err = encode(m.state); err != nil {
				return nil, err
			}
		}
	}
	n.updated = max(e.now().UnixMicro(), r.updated)
	if err := d.progress(ctx, tx, r, n); err != nil {
		return nil, err
	}
	if !m.quiet && (n.step == "" || n.over()) {
		if err := e.finish(ctx, tx, d, n, m.endless); err != nil {
			return nil, &endError{err}
		}
	}
	first := n.events
	n.events += int64(len(m.log))
	if err := n.save(ctx, tx, r); err != nil {
		return nil, err
	}
	for i, ev := range m.log {
		if err := remember(ctx, tx, n.key, first+int64(i), n.updated, ev); err != nil {
			return nil, err
		}
	}
	if n.waits != "" && n.due.Valid {
		if err := n.seekSignal(ctx, tx); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// progress calls OnStep when the move from r to n is the success of a step.
func (d *definition) progress(ctx context.Context, tx *store.Tx, r, n *record) error {
	if d == nil || d.onStep == nil || r.status != forward || n.status != forward || r.step == "" || n.step == r.step {
		return nil
	}
	state := proto.Clone(n.original)
	return shield(func() error { return d.onStep(ctx, tx, state, r.step) })
}

// finish ends a run that has no step left, or lets End know that it is parked.
func (e *engine) finish(ctx context.Context, tx *store.Tx, d *definition, n *record, endless bool) (err error) {
	o := Outcome{State: Parked, Step: n.step}
	switch n.status {
	case forward:
		o.State = Completed
	case backward:
		o.State, o.Err = Compensated, decodeError(n.cause)
	default:
		o.Err = decodeError(n.err)
	}
	n.status, n.holder, n.due, n.waits = o.State, "", sql.NullInt64{}, ""
	if o.State != Parked {
		n.ended, n.err = n.updated, ""
	}
	if endless || d == nil || d.end == nil {
		return nil
	}
	state := proto.Clone(n.original)
	if err := shield(func() error { return d.end(ctx, tx, state, o) }); err != nil {
		return err
	}
	n.original = state
	n.state, err = encode(state)
	return err
}

// encode returns the state as it is stored. It fails when a step has put text
// into it that is not UTF-8.
func encode(state proto.Message) ([]byte, error) {
	b, err := proto.Marshal(state)
	if err != nil {
		return nil, fmt.Errorf("encode the state of a saga: %w", err)
	}
	return blob(b), nil
}

// move stores the transition and returns the run as it then is, or nil when it
// is no longer this worker's. A cancel that came meanwhile is seen by the plan,
// which is run again with the row as it is. A failing store is tried again
// until it works or the program stops.
func (e *engine) move(r *record, p plan) *record {
	n, _ := e.moveIn(e.lightly(context.WithoutCancel(r.ctx), r, p), r, p, false)
	return n
}

// lightly returns the context for a transition whose plan needs no transaction.
// It is one comparison of one row, which is right at any isolation, unless the
// saga's own OnStep or End have a part in it.
func (e *engine) lightly(ctx context.Context, r *record, p plan) context.Context {
	d := e.sagas[r.saga]
	if d == nil || d.onStep != nil {
		return ctx
	}
	if m, err := p(ctx, nil, r); err != nil || d.end != nil && (m.next.step == "" || m.next.over()) {
		return ctx
	}
	return store.RowByRow(ctx)
}

// moveIn is move with a context for the transaction. With once, an error of
// the plan or of the store is returned.
func (e *engine) moveIn(ctx context.Context, r *record, p plan, once bool) (*record, error) {
	for try := 1; ; try++ {
		n, err := e.commit(ctx, r, p)
		var end *endError
		switch {
		case err == nil:
			e.moved(r, n)
			return n, nil
		case errors.As(err, &end):
			return e.endLater(r, p, end), nil
		case errors.Is(err, errLost), errors.Is(err, store.ErrUnknown):
			again, ok := e.learn(r)
			switch {
			case !ok:
				e.abandon(r)
				return nil, nil
			case again == nil:
				e.s.Log().Info("a saga has been taken over by another instance", "saga", r.saga, "run", r.id)
				return nil, nil
			case again.moves != r.moves: // the commit had happened
				return again, nil
			case errors.Is(err, errLost) && again.cancel == r.cancel: // it was given back by a drain
				return nil, nil
			case errors.Is(err, errLost):
				r = again
				continue
			case once:
				return nil, err
			}
		case once:
			return nil, err
		}
		e.s.Log().Warn("a step of a saga could not be stored; it is tried again", "saga", r.saga, "run", r.id, "step", r.step, "error", err)
		if !e.pause(min(10*time.Millisecond<<min(try, 9), 5*time.Second)) {
			e.abandon(r)
			return nil, nil
		}
	}
}

// learn reads the row of a run until it can be read: what was stored is not
// guessed, since to store it again would be to do it again. It reports false
// when the program stops, and returns nil when the run is another's.
func (e *engine) learn(r *record) (*record, bool) {
	for try := 1; ; try++ {
		again, err := e.reload(r)
		if err == nil {
			return again, true
		}
		e.s.Log().Warn("a saga cannot be read; it waits", "saga", r.saga, "run", r.id, "step", r.step, "error", err)
		if !e.pause(min(10*time.Millisecond<<min(try, 9), 5*time.Second)) {
			return nil, false
		}
	}
}

// endLater stores the transition without ending the run, since End failed: it
// is tried again, and at last the run is parked. Parking goes on without it.
func (e *engine) endLater(r *record, p plan, end *endError) *record {
	n, _ := e.moveIn(context.WithoutCancel(r.ctx), r, func(ctx context.Context, tx *store.Tx, r *record) (move, error) {
		m, err := p(ctx, tx, r)
		if err != nil {
			return m, err
		}
		n := m.next
		if m.quiet = n.step == "" || n.over(); !m.quiet { // a cancel came and turned the run round
			return m, nil
		}
		if n.over() { // parked
			m.log = append(m.log, Event{Kind: "failed", Step: n.step, Detail: end.Error()})
			return m, nil
		}
		n.attempt, n.err = 1, encodeError(end)
		if r.step == "" {
			n.attempt = r.attempt + 1
		}
		m.log = append(m.log, Event{Kind: "failed", Detail: end.Error()})
		if n.attempt >= ThenAttempts {
			n.park(ErrEnd.Wrap(end), false)
			return m, nil
		}
		n.rest(e.now().Add(backoff(&endStep, n.attempt, end.err)).UnixMicro())
		return m, nil
	}, false)
	return n
}

var endStep = step{first: FirstBackoff, ceiling: ThenCeiling}

// moved tells the world of a transition that is on disk.
func (e *engine) moved(r, n *record) {
	if n.due.Valid {
		e.wakeAt(n.due.Int64)
	}
	if n.deadline < 0 && r.deadline > 0 {
		e.meters.late.WithLabelValues(n.saga).Inc()
		e.s.Log().Error("a saga is late: its deadline has passed after its pivot", "saga", n.saga, "run", n.id, "step", n.step, "deadline", micros(r.deadline))
	}
	if !n.over() {
		return
	}
	e.meters.ended.WithLabelValues(n.saga, string(n.status)).Inc()
	if n.status == Parked {
		e.meters.parked.Inc()
		e.s.Log().Error("a saga is parked: it needs a person", "saga", n.saga, "run", n.id, "step", n.step,
			"while", string(n.resumes), "attempts", n.attempt, "error", decodeError(n.err))
	}
	e.publish(n.key)
	e.db.Notify(topicOver)
}

// fork returns a copy of the row to make the next one of.
func (r *record) fork() *record {
	n := *r
	return &n
}

// compensate turns a run round. own says that the step under way is undone too,
// unless it works in the transaction that stores its result: there is none.
func (r *record) compensate(d *definition, instance string, now time.Time, cause error, own bool) {
	r.cause, r.status = encodeError(cause), backward
	r.err = ""
	if s := d.step(r.step); own && s != nil && s.undoable() && !s.inTx() {
		r.turnTo(r.step, instance, now)
		return
	}
	r.pop(d, instance, now)
}

// pop makes the last step done the one to undo; with none left the run ends.
// A step that the program does not know is not skipped.
func (r *record) pop(d *definition, instance string, now time.Time) {
	done := split(r.done)
	for len(done) > 0 {
		name := done[len(done)-1]
		done = done[:len(done)-1]
		if s := d.step(name); s == nil || s.undoable() {
			r.done = strings.Join(done, ",")
			r.turnTo(name, instance, now)
			return
		}
	}
	r.done = ""
	r.turnTo("", instance, now)
}

// park stops a run for a person to look at. After a known refusal a resumed
// step asks under a new key, since the old one would repeat the refusal.
func (r *record) park(err error, newKey bool) {
	r.err, r.resumes, r.status = encodeError(err), r.status, Parked
	r.holder, r.due, r.waits = "", sql.NullInt64{}, ""
	if newKey {
		r.gen++
	}
}

// cancelled returns the error of a run that Cancel has reached.
func (r *record) cancelled() error {
	if err := decodeError(r.cause); err != nil {
		return err
	}
	return ErrCancelled
}

// shield turns a panic into an error: the outcome of what f did is unknown.
func shield(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			stack := strings.Split(string(debug.Stack()), "\n")
			stack = stack[min(len(stack), 7):] // the frames of the recovery itself
			err = fault.New(codes.Internal, "PANIC", "a panic").Wrap(fmt.Errorf("panic: %v\n%s", p, strings.Join(slices.Clip(stack), "\n")))
		}
	}()
	return f()
}
