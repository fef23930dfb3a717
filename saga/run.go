package saga

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/argosy-go/argosy/store"
)

// State is where a run stands.
type State string

// The states. A run ends in Completed or Compensated, or stops in Parked until
// an operator resumes it.
const (
	// Running: its steps are done one after the other, or it waits.
	Running State = forward
	// Compensating: what was done is undone, the last step first.
	Compensating State = backward
	// Completed: all steps were done.
	Completed State = "completed"
	// Compensated: all that was done has been undone.
	Compensated State = "compensated"
	// Parked: it can go neither forward nor back by itself.
	Parked State = "parked"
)

const (
	forward  = "forward"
	backward = "backward"
)

// Outcome is how a run ended, as [End] gets it.
type Outcome struct {
	// State is Completed, Compensated or Parked.
	State State
	// Err is why the run was compensated or parked; nil when it completed. It
	// is a *fault.Error; that of a cancelled run is ErrCancelled with the
	// message that Cancel was given.
	Err error
	// Step is the step at which the run was parked.
	Step string
}

// Signal is what [Saga.Signal] sent.
type Signal struct {
	// Name is the name of the signal and of the step that waits for it.
	Name string
	// Time is when it was sent.
	Time time.Time

	payload *anypb.Any
}

// Decode puts the payload into m, and fails when it is of another type. A
// signal sent without payload leaves m empty.
func (s Signal) Decode(m proto.Message) error {
	proto.Reset(m)
	if s.payload == nil || s.payload.TypeUrl == "" {
		return nil
	}
	if err := s.payload.UnmarshalTo(m); err != nil {
		return fmt.Errorf("decode the signal %s: %w", s.Name, err)
	}
	return nil
}

// Info is what can be said of a run without knowing the type of its state.
type Info struct {
	// Saga and ID name the run.
	Saga, ID string
	// State is where it stands.
	State State
	// Step is the step under way; empty when the run has ended.
	Step string
	// Attempt is how many attempts of the step have failed.
	Attempt int
	// Done are the steps done and not undone, in order.
	Done []string
	// Cause is why the run is compensated; nil while it goes forward.
	Cause error
	// Err is the last error of the step, and why a parked run is parked.
	Err error
	// Holder is the instance that works on it; empty while it waits.
	Holder string
	// Epoch is raised by every claim and by every operator's action.
	Epoch int64
	// Due is when a waiting run goes on at the latest; zero when it does not
	// wait, or waits for a signal without a limit.
	Due time.Time
	// Deadline is that of the run; zero: none.
	Deadline time.Time
	// Created, Updated and Ended are the times of the start, the last change
	// and the end. Ended is zero until then, and while parked.
	Created, Updated, Ended time.Time
}

// Over reports whether nothing goes on any more: the run has ended or is parked.
func (i Info) Over() bool {
	return i.State == Completed || i.State == Compensated || i.State == Parked
}

// Run is a run with its state.
type Run[S proto.Message] struct {
	Info
	// Value is the state after the last step that succeeded.
	Value S
	// History is what happened beside the plain course: failed attempts,
	// cancels, undone steps, what operators did, the oldest first: of more than
	// 64 entries the first 8 and the last 56.
	History []Event
	// Dropped is how many entries between them have fallen out.
	Dropped int
}

// Event is an entry of a run's history.
type Event struct {
	Time time.Time
	Kind string // "failed", "compensate", "undone", "late", "parked", "retried", "resumed", "skipped", "cancelled"
	Step string
	// Attempt is the number of the attempt that failed, from 1.
	Attempt int
	// Detail is the error.
	Detail string
	// Actor and Reason say who made the run do this and why, where somebody did.
	Actor, Reason string
}

func (r *record) info() Info {
	i := Info{
		Saga: r.saga, ID: r.id, State: r.status, Step: r.step, Attempt: r.attempt, Done: split(r.done),
		Cause: decodeError(r.cause), Err: decodeError(r.err), Holder: r.holder, Epoch: r.epoch,
		Created: micros(r.created), Updated: micros(r.updated), Ended: micros(r.ended),
	}
	i.Deadline = micros(max(r.deadline, -r.deadline))
	if r.due.Valid && r.due.Int64 != never {
		i.Due = micros(r.due.Int64)
	}
	return i
}

func micros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// Active counts the runs that go on or wait, and those that are parked. A
// database without the tables of sagas has none of either.
func Active(ctx context.Context, q store.Querier) (active, parked int, err error) {
	there, err := store.HasTable(ctx, q, "argosy_saga_runs")
	if err != nil || !there {
		return 0, 0, err
	}
	return counts(ctx, q)
}

// counts is Active where the tables are known to be.
func counts(ctx context.Context, q store.Querier) (active, parked int, err error) {
	err = q.QueryRowContext(ctx, `SELECT
		(SELECT COUNT(*) FROM argosy_saga_runs WHERE holder <> '') + (SELECT COUNT(*) FROM argosy_saga_runs WHERE due IS NOT NULL),
		(SELECT COUNT(*) FROM argosy_saga_runs WHERE status = 'parked')`).Scan(&active, &parked)
	if err != nil {
		return 0, 0, fmt.Errorf("count sagas: %w", err)
	}
	return active, parked, nil
}
