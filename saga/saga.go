package saga

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/internal/mutant"
	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/telemetry"
)

// Saga is the handle of a defined saga. It works while the service runs, and is
// safe for concurrent use. Make it with [Define].
type Saga[S proto.Message] struct {
	e *engine
	d *definition
}

// Name returns the name of the saga.
func (s Saga[S]) Name() string {
	if s.d == nil {
		return ""
	}
	return s.d.name
}

// Start starts a run in the caller's transaction: it runs if and only if the
// transaction commits. id names the run among those of the saga: 1 to 100
// printable ASCII characters without space. An id that was used before fails
// the transaction with [ErrExists]. The state is copied. Errors stick to tx.
func (s Saga[S]) Start(tx *store.Tx, id string, state S) {
	if err := s.owns(tx, id); err != nil {
		tx.Fail(err)
		return
	}
	r, err := s.begin(tx, id, state)
	if err != nil {
		tx.Fail(err)
		return
	}
	if mutant.SagaAfterCommit {
		db := tx.DB()
		tx.AfterCommit(func() {
			_ = db.Do(context.Background(), func(ctx context.Context, tx *store.Tx) error { return s.insert(ctx, tx, r) }) // the mutant does not care
		})
		return
	}
	tx.Fail(s.insert(tx.Context(), tx, r))
}

// begin makes the row of a new run.
func (s Saga[S]) begin(tx *store.Tx, id string, state S) (*record, error) {
	now := s.e.now()
	b, err := proto.Marshal(state)
	if err != nil {
		return nil, fmt.Errorf("start saga %s %s: encode its state: %w", s.d.name, id, err)
	}
	r := &record{
		key: key{s.d.name, id}, status: forward, state: b, epoch: 1, trace: telemetry.Traceparent(tx.Context()),
		created: now.UnixMicro(), updated: now.UnixMicro(), version: s.d.version,
	}
	r.original = proto.Clone(state)
	if s.d.deadline != nil {
		r.deadline = now.Add(max(s.d.deadline(r.original), 0)).UnixMicro()
	}
	r.enter(s.d, s.d.plain[0], s.e.instance, now)
	if r.held() && s.e.full() {
		r.rest(r.created)
	}
	return r, nil
}

// insert stores a new run, and hands it to the engine when that is on disk.
func (s Saga[S]) insert(ctx context.Context, tx *store.Tx, r *record) error {
	free, err := r.insert(ctx, tx)
	if err != nil {
		return err
	}
	if !free {
		return ErrExists.WithMessage("saga %s has a run %q already", r.saga, r.id)
	}
	if r.waits != "" {
		if err := r.seekSignal(ctx, tx); err != nil {
			return err
		}
	}
	tx.AfterCommit(func() {
		s.e.meters.started.WithLabelValues(r.saga).Inc()
		if r.held() {
			s.e.accept(r)
		} else {
			s.e.wakeAt(r.due.Int64)
			if r.due.Int64 <= r.created { // there is no room here
				s.e.db.Notify(topicDue)
			}
		}
	})
	return nil
}

// Cancel asks to cancel a run, in the caller's transaction, and reports whether
// the run will be compensated, or has been. It will not once the pivot is to be
// attempted: then nothing changes, and what the run does must be made good in
// another way. A call in flight is not interrupted; what it did is undone.
// reason becomes the message of the outcome's error, which is [ErrCancelled]. A
// run that does not exist is [ErrNotFound], one that is parked before its pivot
// [ErrParked].
func (s Saga[S]) Cancel(tx *store.Tx, id, reason string) (bool, error) {
	if err := s.owns(tx, id); err != nil {
		return false, err
	}
	return s.e.cancelRun(tx, key{s.d.name, id}, reason)
}

// cancelRun puts the mark of a cancel on a run that may still be cancelled.
func (e *engine) cancelRun(tx *store.Tx, k key, reason string) (bool, error) {
	ctx, now := tx.Context(), store.At(e.now())
	cause := encodeError(ErrCancelled.WithMessage("%s", reason))
	res, err := tx.ExecContext(ctx, `UPDATE argosy_saga_runs SET cancel = 1, cause = $1, due = CASE WHEN due > $2 THEN $2 ELSE due END
		WHERE saga = $3 AND id = $4 AND status = 'forward' AND pivoted = 0 AND cancel = 0`, cause, now, k.saga, k.id)
	if err != nil {
		return false, fmt.Errorf("cancel saga %s %s: %w", k.saga, k.id, err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 1 {
		tx.AfterCommit(e.stir)
		return n == 1, err
	}
	r, err := load(ctx, tx, k)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return false, k.missing()
	case err != nil:
		return false, fmt.Errorf("cancel saga %s %s: %w", k.saga, k.id, err)
	case r.status == Parked && !r.pivoted:
		return r.resumes == backward, parkedError(r)
	}
	return r.cancel || r.status == backward || r.status == Compensated || r.status == Parked && r.resumes == backward, nil
}

func parkedError(r *record) error {
	if r.resumes == backward {
		return nil
	}
	return ErrParked.WithMessage("run %q of saga %s is parked: resume it first", r.id, r.saga)
}

// Signal sends a signal to the step of that name, in the caller's transaction.
// It is kept until the step takes it: it may come before the step waits, before
// the run is started even, or too late, when nobody takes it. Each step takes
// one. payload may be nil. Errors stick to tx.
func (s Saga[S]) Signal(tx *store.Tx, id, name string, payload proto.Message) {
	if err := s.owns(tx, id); err != nil {
		tx.Fail(err)
		return
	}
	if st := s.d.step(name); st == nil || st.kind != kindAwait {
		tx.Fail(fault.New(codes.Internal, "UNKNOWN_SIGNAL", "saga %s has no Await step %q", s.d.name, name))
		return
	}
	if err := putSignal(tx.Context(), tx, key{s.d.name, id}, name, payload, s.e.now()); err != nil {
		tx.Fail(fmt.Errorf("signal %s to saga %s %s: %w", name, s.d.name, id, err))
		return
	}
	tx.AfterCommit(s.e.stir)
}

// Resume lets a parked run go on where it stopped, in the caller's transaction.
// A step that was refused asks under a new key, one whose outcome is unknown
// under the same. A run that is not parked is [ErrNotParked]. Operators do more:
// see [Operate].
func (s Saga[S]) Resume(tx *store.Tx, id string) error {
	if err := s.owns(tx, id); err != nil {
		return err
	}
	_, err := s.e.operate(tx, Order{Saga: s.d.name, ID: id, Action: Resume, Actor: s.e.s.Name()})
	return err
}

// Get returns a run. One that does not exist is [ErrNotFound].
func (s Saga[S]) Get(ctx context.Context, id string) (Run[S], error) {
	var run Run[S]
	if s.d == nil {
		return run, errUndefined
	}
	k := key{s.d.name, id}
	err := s.e.db.Read(ctx, func(ctx context.Context, q store.Querier) error {
		r, err := load(ctx, q, k)
		if errors.Is(err, sql.ErrNoRows) {
			return k.missing()
		}
		if err != nil {
			return fmt.Errorf("get saga %s %s: %w", k.saga, id, err)
		}
		m, err := s.d.decode(r.state)
		if err != nil {
			return err
		}
		run = Run[S]{Info: r.info(), Value: m.(S)}
		run.History, run.Dropped, err = r.history(ctx, q)
		return err
	})
	return run, err
}

// Wait waits until the run has ended or is parked, and returns it then. It is
// for tests, and for handlers that wait for a run within their deadline.
func (s Saga[S]) Wait(ctx context.Context, id string) (Run[S], error) {
	if s.d == nil {
		return Run[S]{}, errUndefined
	}
	for {
		over, leave := s.e.subscribe(key{s.d.name, id})
		run, err := s.Get(ctx, id)
		if err != nil || run.Over() {
			leave()
			return run, err
		}
		look := time.NewTimer(pollEvery) // another instance may end it
		select {
		case <-over:
		case <-look.C:
		case <-ctx.Done():
			err = fmt.Errorf("wait for saga %s %s, which is at step %q: %w", s.d.name, id, run.Step, context.Cause(ctx))
		}
		look.Stop()
		leave()
		if err != nil {
			return run, err
		}
	}
}

// owns returns what is wrong with using the saga in tx.
func (s Saga[S]) owns(tx *store.Tx, id string) error {
	switch {
	case s.d == nil:
		return errUndefined
	case tx.DB() != s.e.db:
		return fault.New(codes.Internal, "SAGA_FOREIGN_TX", "saga %s belongs to service %s, the transaction to %s", s.d.name, s.e.s.Name(), tx.DB().Service())
	case !idForm.MatchString(id):
		return fault.New(codes.InvalidArgument, "SAGA_ID", "the id of a run of saga %s must be 1 to 100 printable ASCII characters without space", s.d.name)
	}
	return nil
}

// idForm is narrow enough for an id to be part of an idempotency key.
var idForm = regexp.MustCompile(`^[!-~]{1,100}$`)
