package saga

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/argosy-go/argosy/idempotency"
	"github.com/argosy-go/argosy/store"
)

// What a step does unless it says otherwise.
const (
	// DefaultTimeout bounds one attempt.
	DefaultTimeout = 10 * time.Second
	// DoAttempts is how often a step before the pivot is tried before the run
	// is compensated: with the default backoff over 10 to 20 seconds.
	DoAttempts = 8
	// ThenAttempts is how often a pivot, a step after it or an undo is tried
	// before the run is parked: with the default backoff over about 20 minutes.
	ThenAttempts = 50
	// CrashLimit is how often processes may end while they take one step of a
	// run before the run is parked: a step may well be what ends them.
	CrashLimit = 5
	// KeyLife is how long a step whose outcome is unknown is asked again. It is
	// what participants promise to keep replies for: a run that is older is
	// parked, since its key may have been forgotten.
	KeyLife = idempotency.MinKeep
	// FirstBackoff is the pause after the first failed attempt; each further
	// pause is twice as long, up to the ceiling. Up to a half of each is random.
	FirstBackoff = 100 * time.Millisecond
	// DoCeiling and ThenCeiling bound the pauses.
	DoCeiling   = 10 * time.Second
	ThenCeiling = 30 * time.Second
)

// Step is one entry of a saga's list. Its methods return changed copies.
type Step[S proto.Message] struct{ s step }

// kind tells the steps apart.
type kind int

const (
	kindDo       kind = iota // can be undone, before the pivot
	kindPivot                // the point of no return
	kindThen                 // after the pivot, retried until it succeeds
	kindAwait                // waits for a signal
	kindSleep                // waits for a time
	kindEnd                  // runs in the transaction that ends the run
	kindOnStep               // runs in the transaction that stores a step's success
	kindWhen                 // decides whether its steps are taken
	kindEach                 // decides for which items its steps are taken
	kindDeadline             // bounds the whole run
)

func (k kind) String() string {
	return [...]string{"Do", "Pivot", "Then", "Await", "Sleep", "End", "OnStep", "When", "Each", "Deadline"}[k]
}

type (
	action   = func(ctx context.Context, state proto.Message) error
	txAction = func(ctx context.Context, tx *store.Tx, state proto.Message) error
)

// step is a Step without its type.
type step struct {
	name     string
	kind     kind
	do       action
	doTx     txAction
	undo     action
	undoTx   txAction
	noUndo   bool
	signal   func(ctx context.Context, tx *store.Tx, state proto.Message, sig Signal) error
	within   time.Duration
	missed   txAction
	sleep    func(state proto.Message) time.Duration
	end      func(ctx context.Context, tx *store.Tx, state proto.Message, o Outcome) error
	onStep   func(ctx context.Context, tx *store.Tx, state proto.Message, name string) error
	decide   func(state proto.Message) bool
	items    func(state proto.Message) []string
	steps    []*step // of a When or an Each
	timeout  time.Duration
	attempts int
	undos    int
	first    time.Duration
	ceiling  time.Duration
	errs     []error
}

func newStep[S proto.Message](name string, k kind) Step[S] {
	s := step{name: name, kind: k, timeout: DefaultTimeout, attempts: DoAttempts, undos: ThenAttempts, first: FirstBackoff, ceiling: DoCeiling}
	if k == kindPivot || k == kindThen {
		s.attempts, s.ceiling = ThenAttempts, ThenCeiling
	}
	return Step[S]{s}
}

func erase[S proto.Message](f func(context.Context, S) error) action {
	if f == nil {
		return nil
	}
	return func(ctx context.Context, m proto.Message) error { return f(ctx, m.(S)) }
}

func eraseTx[S proto.Message](f func(context.Context, *store.Tx, S) error) txAction {
	if f == nil {
		return nil
	}
	return func(ctx context.Context, tx *store.Tx, m proto.Message) error { return f(ctx, tx, m.(S)) }
}

// Do is a step before the pivot. It must say how it is undone: Undo, UndoTx or
// NoUndo. f may be called again after a failure or a crash, with the same
// [Key] in its context; what it changes in the state is kept when it succeeds.
func Do[S proto.Message](name string, f func(ctx context.Context, state S) error) Step[S] {
	st := newStep[S](name, kindDo)
	st.s.do = erase(f)
	return st.needs(f != nil)
}

// DoTx is a Do on the service's own database: f's SQL, the state and the step's
// result are one commit, so that it happens exactly once, and is undone only when
// it has happened.
func DoTx[S proto.Message](name string, f func(ctx context.Context, tx *store.Tx, state S) error) Step[S] {
	st := newStep[S](name, kindDo)
	st.s.doTx = eraseTx(f)
	return st.needs(f != nil)
}

// Pivot is the point of no return: once it is to be attempted the run can no
// longer be cancelled, and once it has succeeded the run goes forward only. A
// refusal compensates the run. When its outcome stays unknown it is asked again
// under the same key, [ThenAttempts] times, and then the run is parked.
func Pivot[S proto.Message](name string, f func(ctx context.Context, state S) error) Step[S] {
	st := newStep[S](name, kindPivot)
	st.s.do = erase(f)
	return st.needs(f != nil)
}

// Then is a step after the pivot: retried until it succeeds. A refusal, or
// [ThenAttempts] failures, parks the run.
func Then[S proto.Message](name string, f func(ctx context.Context, state S) error) Step[S] {
	st := newStep[S](name, kindThen)
	st.s.do = erase(f)
	return st.needs(f != nil)
}

// ThenTx is a Then on the service's own database, exactly once: see [DoTx].
func ThenTx[S proto.Message](name string, f func(ctx context.Context, tx *store.Tx, state S) error) Step[S] {
	st := newStep[S](name, kindThen)
	st.s.doTx = eraseTx(f)
	return st.needs(f != nil)
}

// Await waits for the signal of the step's name: see [Saga.Signal]. f gets the
// oldest one that no step has taken; taking it, f's SQL, the state and the
// step's result are one commit. When f fails it is called again with the same
// signal. Without Within the wait has no end.
func Await[S proto.Message](name string, f func(ctx context.Context, tx *store.Tx, state S, sig Signal) error) Step[S] {
	st := newStep[S](name, kindAwait)
	st.s.noUndo = true
	if f != nil {
		st.s.signal = func(ctx context.Context, tx *store.Tx, m proto.Message, sig Signal) error {
			return f(ctx, tx, m.(S), sig)
		}
	}
	return st.needs(f != nil)
}

// Sleep waits as long as d says, from the moment in which the run reaches it.
// The wait goes on over restarts; it holds neither memory nor a goroutine.
func Sleep[S proto.Message](name string, d func(state S) time.Duration) Step[S] {
	st := newStep[S](name, kindSleep)
	st.s.noUndo = true
	if d != nil {
		st.s.sleep = func(m proto.Message) time.Duration { return d(m.(S)) }
	}
	return st.needs(d != nil)
}

// End is called in the transaction that ends the run, however it ends: it is
// where the service's own tables learn the outcome. It is the last of the list
// and no step: it has no name.
//
// A run that is parked calls it too, with the state [Parked] and the error.
// When an operator resumes the run, End is called once more with the final
// outcome, so it must not take Parked as the last word. An End that keeps
// failing parks the run; a parked run whose End fails is parked without it.
func End[S proto.Message](f func(ctx context.Context, tx *store.Tx, state S, o Outcome) error) Step[S] {
	st := newStep[S]("", kindEnd)
	if f != nil {
		st.s.end = func(ctx context.Context, tx *store.Tx, m proto.Message, o Outcome) error {
			return f(ctx, tx, m.(S), o)
		}
	}
	return st.needs(f != nil)
}

// OnStep runs f in the transaction that stores the success of each step, with
// the step's name and the state after it: for progress that others can see. It
// costs no commit of its own. It is given once, anywhere in the list, and is no
// step: it has no name. What f does to the state is dropped. An error is taken
// as one of the store: the transaction is tried again until it succeeds.
func OnStep[S proto.Message](f func(ctx context.Context, tx *store.Tx, state S, name string) error) Step[S] {
	st := newStep[S]("", kindOnStep)
	if f != nil {
		st.s.onStep = func(ctx context.Context, tx *store.Tx, m proto.Message, name string) error {
			return f(ctx, tx, m.(S), name)
		}
	}
	return st.needs(f != nil)
}

// Deadline bounds the whole run, from its start, over restarts: d is asked once.
// A run that has not reached its pivot by then is compensated, with
// [ErrDeadline] as the cause; what is under way is ended and undone. After the
// pivot there is no way back: the run goes on, and the deadline is an alarm, in
// the log, in the metric argosy_saga_late_total and in the history. It is given
// once, anywhere in the list, and is no step: it has no name.
func Deadline[S proto.Message](d func(state S) time.Duration) Step[S] {
	st := newStep[S]("", kindDeadline)
	if d != nil {
		st.s.sleep = func(m proto.Message) time.Duration { return d(m.(S)) }
	}
	return st.needs(d != nil)
}

// Undo says how the step is undone. f is called when the step had succeeded,
// and also when its outcome is unknown: it must accept that nothing was done.
// The outcome of a [DoTx] is always known.
func (st Step[S]) Undo(f func(ctx context.Context, state S) error) Step[S] {
	st.s.undo = erase(f)
	return st.only("Undo", kindDo).needs(f != nil)
}

// UndoTx is an Undo on the service's own database, exactly once.
func (st Step[S]) UndoTx(f func(ctx context.Context, tx *store.Tx, state S) error) Step[S] {
	st.s.undoTx = eraseTx(f)
	return st.only("UndoTx", kindDo).needs(f != nil)
}

// NoUndo says that nothing has to be undone.
func (st Step[S]) NoUndo() Step[S] {
	st.s.noUndo = true
	return st.only("NoUndo", kindDo)
}

// Timeout bounds one attempt of the step and of its undo. Default [DefaultTimeout].
func (st Step[S]) Timeout(d time.Duration) Step[S] {
	st.s.timeout = d
	return st.want(d > 0, "Timeout must be positive")
}

// Attempts says how often the step is tried. Default [DoAttempts] before the
// pivot, [ThenAttempts] from it on.
func (st Step[S]) Attempts(n int) Step[S] {
	st.s.attempts = n
	return st.want(n > 0, "Attempts must be positive")
}

// UndoAttempts says how often the undo is tried. Default [ThenAttempts].
func (st Step[S]) UndoAttempts(n int) Step[S] {
	st.s.undos = n
	return st.only("UndoAttempts", kindDo).want(n > 0, "UndoAttempts must be positive")
}

// Backoff sets the first pause between attempts and the longest, of the step
// and of its undo. Defaults: [FirstBackoff] and [DoCeiling] or [ThenCeiling].
func (st Step[S]) Backoff(first, ceiling time.Duration) Step[S] {
	st.s.first, st.s.ceiling = first, ceiling
	return st.want(first > 0 && ceiling >= first, "Backoff needs 0 < first <= ceiling")
}

// Within is the deadline of the step, from the moment in which the run reaches
// it, over restarts; default none.
//
// It bounds the wait of an Await: when no signal came in time the step is
// refused, which compensates the run, or parks it after the pivot; see Else.
//
// It bounds all attempts of a Do, a Pivot or a Then together: one that would
// begin later is not made, as if Attempts had ended. After a crash, one is made
// in any case, since the outcome is unknown. Undos have no deadline.
func (st Step[S]) Within(d time.Duration) Step[S] {
	st.s.within = d
	k := st.s.kind
	return st.want(k == kindAwait || k == kindDo || k == kindPivot || k == kindThen, "Within is for Await, Do, Pivot and Then steps, and this is a %v", k).
		want(d > 0, "Within must be positive")
}

// Else is called instead of the signal's function when the time of Within is
// over: the run goes on when it returns nil.
func (st Step[S]) Else(f func(ctx context.Context, tx *store.Tx, state S) error) Step[S] {
	st.s.missed = eraseTx(f)
	return st.only("Else", kindAwait).needs(f != nil)
}

func (st Step[S]) needs(ok bool) Step[S] { return st.want(ok, "a function is nil") }

func (st Step[S]) only(method string, k kind) Step[S] {
	return st.want(st.s.kind == k, "%s is for %v steps, and this is a %v", method, k, st.s.kind)
}

func (st Step[S]) want(ok bool, format string, args ...any) Step[S] {
	if !ok {
		st.s.errs = append(st.s.errs[:len(st.s.errs):len(st.s.errs)], fmt.Errorf(format, args...))
	}
	return st
}

// inTx reports whether the step works in the transaction that stores its result.
func (s *step) inTx() bool {
	return s.doTx != nil || s.kind == kindAwait || s.kind == kindSleep || s.decides()
}

// decides reports whether the step stores a decision.
func (s *step) decides() bool { return s.kind == kindWhen || s.kind == kindEach }

// limited reports whether the step's deadline bounds its attempts.
func (s *step) limited() bool { return s.within > 0 && s.kind != kindAwait }

// undoable reports whether compensation has something to call.
func (s *step) undoable() bool { return s.undo != nil || s.undoTx != nil }

// check returns what is wrong with the step by itself.
func (s *step) check() error {
	errs := s.errs
	ways := 0
	for _, set := range []bool{s.undo != nil, s.undoTx != nil, s.noUndo && s.kind == kindDo} {
		if set {
			ways++
		}
	}
	switch {
	case s.kind != kindDo:
	case ways == 0:
		errs = append(errs, errors.New("a Do must say how it is undone: add Undo, UndoTx or NoUndo"))
	case ways > 1:
		errs = append(errs, errors.New("a Do has one of Undo, UndoTx and NoUndo"))
	}
	if s.missed != nil && s.within == 0 {
		errs = append(errs, errors.New("Else needs Within"))
	}
	return errors.Join(errs...)
}
