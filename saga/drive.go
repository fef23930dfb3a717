package saga

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/argosy-go/argosy/store"
)

// drive takes the steps of a run until it ends, waits, or is lost.
func (e *engine) drive(r *record) {
	d := e.sagas[r.saga]
	r.ctx = e.context(r)
	if r.original == nil {
		var err error
		if r.original, err = d.decode(r.state); err != nil {
			e.stop(r, ErrChanged.Wrap(err), true)
			return
		}
	}
	if err := d.agree(r); err != nil {
		e.stop(r, ErrChanged.Wrap(err), false)
		return
	}
	for r != nil && r.held() && !e.stopping() {
		r = e.advance(d, r)
	}
}

// stop parks a run that cannot be worked on, quiet without End: its state
// cannot be read.
func (e *engine) stop(r *record, err error, quiet bool) {
	e.move(r, pure(func(r *record) move {
		n := r.fork()
		n.park(err, false)
		return move{next: n, quiet: quiet, log: []Event{{Kind: "parked", Step: r.step, Detail: err.Error()}}}
	}))
}

// advance takes one step and returns the run after it, or nil.
func (e *engine) advance(d *definition, r *record) *record {
	s := d.step(r.step)
	switch {
	case r.turned(): // before the attempt: a cancel was waiting
		return e.move(r, pure(func(r *record) move { return e.turn(d, r, r.cancelled(), r.doubt) }))
	case r.late(e.now()):
		return e.move(r, pure(func(r *record) move { return e.overdue(d, r) }))
	case r.step == "":
		return e.move(r, pure(func(r *record) move {
			if r.turned() {
				return e.turn(d, r, r.cancelled(), false)
			}
			return move{next: r.fork()}
		}))
	case s == nil:
		e.stop(r, ErrChanged.WithMessage("the program has no step %q in saga %q", r.step, r.saga), false)
	case r.crashes >= CrashLimit:
		e.stop(r, ErrCrashes.WithMessage("the process ended %d times while it took the step %q", r.crashes, r.step), false)
	case r.doubt && e.now().Sub(micros(r.begun)) > KeyLife:
		e.stop(r, ErrKeyExpired.WithMessage("the step %q began at %s, and its outcome is unknown: whoever it calls may have forgotten its key",
			r.step, micros(r.begun).Format(time.RFC3339)), false)
	case r.status == backward:
		return e.undo(d, r, s)
	case s.inTx():
		return e.forthTx(d, r, s)
	default:
		return e.forth(d, r, s)
	}
	return nil
}

// overdue makes the move of a run whose deadline has passed: back, or an alarm
// where there is no way back.
func (e *engine) overdue(d *definition, r *record) move {
	if r.turned() {
		return e.turn(d, r, r.cancelled(), r.doubt)
	}
	if !r.pivoted {
		return e.turn(d, r, ErrDeadline, r.doubt)
	}
	n := r.fork()
	n.deadline = -r.deadline
	return move{next: n, log: []Event{{Kind: "late", Step: r.step}}}
}

// turned reports whether a cancel makes the run go back.
func (r *record) turned() bool { return r.cancel && r.status == forward && !r.pivoted }

// turn makes the move that begins compensation.
func (e *engine) turn(d *definition, r *record, cause error, own bool) move {
	n := r.fork()
	at := n.step
	n.compensate(d, e.instance, e.now(), cause, own)
	return move{next: n, log: []Event{{Kind: "compensate", Step: at, Detail: cause.Error()}}}
}

// forth calls a step's function and stores its result with the next intent.
func (e *engine) forth(d *definition, r *record, s *step) *record {
	state := proto.Clone(r.original)
	var b []byte
	err, halted := e.attempt(r, s, func(ctx context.Context) (err error) {
		if err = s.do(ctx, state); err == nil {
			b, err = encode(state)
		}
		return err
	})
	if err != nil {
		return e.failed(d, r, s, err, halted)
	}
	return e.move(r, func(_ context.Context, _ *store.Tx, r *record) (move, error) {
		m, err := e.done(d, r, r.choices, state)
		m.encoded = b
		return m, err
	})
}

// done makes the move of a step that has succeeded, with what it has decided.
func (e *engine) done(d *definition, r *record, decided string, state proto.Message) (move, error) {
	n, now := r.fork(), e.now()
	n.done, n.choices = add(r.done, r.step), decided
	next, err := d.after(r.step, decided)
	if err != nil {
		return move{}, err
	}
	var cause error
	switch {
	case r.turned():
		cause = r.cancelled()
	case !r.pivoted && next.step != nil && r.late(now): // so the pivot is not begun after the deadline
		cause = ErrDeadline
	default:
		n.enter(d, next, e.instance, now)
		return move{next: n, state: state}, nil
	}
	n.compensate(d, e.instance, now, cause, false)
	return move{next: n, state: state, log: []Event{{Kind: "compensate", Step: r.step, Detail: cause.Error()}}}, nil
}

// forthTx takes a step that works in the transaction which stores its result.
func (e *engine) forthTx(d *definition, r *record, s *step) *record {
	var n *record
	err, halted := e.attempt(r, s, func(attempt context.Context) (err error) {
		n, err = e.moveIn(attempt, r, func(ctx context.Context, tx *store.Tx, r *record) (move, error) {
			if r.turned() {
				return e.turn(d, r, r.cancelled(), r.doubt), nil
			}
			state := proto.Clone(r.original)
			if s.decides() {
				decided, err := s.choose(r.choices, state)
				if err != nil {
					return move{}, err
				}
				return e.done(d, r, decided, nil)
			}
			again, err := e.effect(ctx, tx, r, s, state)
			if err != nil {
				return move{}, err
			}
			if again != nil {
				return move{next: again}, nil
			}
			return e.done(d, r, r.choices, state)
		}, true)
		return err
	})
	if err != nil {
		return e.failed(d, r, s, err, halted)
	}
	return n
}

// effect runs what a step does in its transaction. It returns a row when the
// step has to wait on.
func (e *engine) effect(ctx context.Context, tx *store.Tx, r *record, s *step, state proto.Message) (*record, error) {
	now := e.now()
	due := r.wake <= now.UnixMicro()
	switch s.kind {
	case kindSleep:
		if r.wake == 0 {
			next := r.fork()
			next.wait(now.Add(max(s.sleep(state), 0)).UnixMicro())
			return next, nil
		}
		if due {
			return nil, nil
		}
	case kindAwait:
		sig, n, err := takeSignal(ctx, tx, r.key, s.name)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			if err := s.signal(ctx, tx, state, sig); err != nil {
				return nil, err
			}
			return nil, dropSignal(ctx, tx, r.key, n)
		}
		if due && s.missed != nil {
			return nil, s.missed(ctx, tx, state)
		}
		if due {
			return nil, ErrTimeout.WithMetadata("step", s.name)
		}
	default:
		return nil, s.doTx(ctx, tx, state)
	}
	next := r.fork()
	next.wait(r.wake)
	if s.kind == kindAwait {
		next.waits = s.name // a parked run had let go of it
	}
	return next, nil
}

// undo undoes a step and stores it with the next intent.
func (e *engine) undo(d *definition, r *record, s *step) *record {
	var n *record
	var state proto.Message
	back := func(r *record, state proto.Message) move {
		next := r.fork()
		next.pop(d, e.instance, e.now())
		return move{next: next, state: state, log: []Event{{Kind: "undone", Step: r.step}}}
	}
	err, halted := e.attempt(r, s, func(attempt context.Context) (err error) {
		switch {
		case s.undoTx != nil:
			n, err = e.moveIn(attempt, r, func(ctx context.Context, tx *store.Tx, r *record) (move, error) {
				state := proto.Clone(r.original)
				if err := s.undoTx(ctx, tx, state); err != nil {
					return move{}, err
				}
				return back(r, state), nil
			}, true)
			return err
		case s.undo != nil:
			state = proto.Clone(r.original)
			if err := s.undo(attempt, state); err != nil {
				return err
			}
			_, err = encode(state)
		}
		return err
	})
	if err != nil {
		return e.failed(d, r, s, err, halted)
	}
	if s.undoTx == nil {
		n = e.move(r, pure(func(r *record) move { return back(r, state) }))
	}
	return n
}

// failed stores a failed attempt: the step is tried again later, the run turns
// round, or it is parked. halted says that the program's stop ended the attempt,
// which therefore does not count.
func (e *engine) failed(d *definition, r *record, s *step, err error, halted bool) *record {
	v := judge(err)
	inTx := r.status == forward && s.inTx() || r.status == backward && s.undoTx != nil
	if inTx && v == unknown { // rolled back
		v = notDone
	}
	if errors.Is(err, ErrTimeout) {
		v = refused
	}
	n := e.move(r, pure(func(r *record) move {
		n := r.fork()
		n.doubt = r.doubt || v == unknown
		if halted {
			n.rest(e.now().UnixMicro())
			return move{next: n}
		}
		n.attempt++
		n.err = encodeError(err)
		return e.sentence(d, n, s, v, err)
	}))
	return n
}

// sentence decides what follows from a failed attempt that n has counted.
func (e *engine) sentence(d *definition, n *record, s *step, v verdict, err error) move {
	at, limit, next := d.index[s.name], s.attempts, e.now().Add(backoff(s, n.attempt, err))
	if n.status == backward {
		limit = s.undos
	}
	final := v == refused || n.attempt >= limit || n.status == forward && s.limited() && next.UnixMicro() >= n.wake
	before := n.status == forward && at < d.pivot
	spared := n.status == forward && at == d.pivot && (!n.doubt || v == refused && conclusive(err)) // the pivot certainly has no effect
	switch {
	case before && n.turned():
		return e.turn(d, n, n.cancelled(), n.doubt)
	case before && n.late(e.now()):
		return e.turn(d, n, ErrDeadline.Wrap(err), n.doubt)
	case final && before:
		return e.turn(d, n, err, n.doubt)
	case final && spared:
		return e.turn(d, n, err, false)
	case final:
		n.park(err, v == refused && !n.doubt)
		return move{next: n, log: []Event{{Kind: "parked", Step: n.step, Attempt: n.attempt, Detail: err.Error()}}}
	}
	n.rest(next.UnixMicro())
	return move{next: n, log: []Event{{Kind: "failed", Step: n.step, Attempt: n.attempt, Detail: err.Error()}}}
}

// attempt calls f as one attempt of the step: with its key, deadline, trace and
// identity, and with panics caught. halted reports that the program's stop ended it.
func (e *engine) attempt(r *record, s *step, f func(ctx context.Context) error) (err error, halted bool) {
	ctx, end := e.enter(r, s)
	begun := time.Now()
	err = shield(func() error { return f(ctx) })
	e.meters.attempt(r, s, err, time.Since(begun))
	end(err)
	return err, err != nil && interrupted(ctx)
}
