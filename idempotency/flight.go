package idempotency

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
)

// ErrInFlight: a copy of the request is still being worked on, and the
// deadline of this one came first. Ask again under the same key.
var ErrInFlight = fault.New(codes.Aborted, fault.ReasonInFlight, "a copy of this request is still being worked on").
	WithRetryAfter(time.Second)

// flight is a call under way. kept is what it stored, if anything; it is
// written before done is closed.
type flight struct {
	done chan struct{}
	kept *record
}

// flights are the calls under way on one database.
type flights struct {
	now func() time.Time

	mu      sync.Mutex
	running map[scope]*flight
}

// join returns the flight of the scope, and true when the caller began it and
// has to end it.
func (f *flights) join(s scope) (*flight, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl := f.running[s]; fl != nil {
		return fl, false
	}
	fl := &flight{done: make(chan struct{})}
	f.running[s] = fl
	return fl, true
}

// end lets the copies go on: with what was stored, or, when nothing was, with
// one of them as the next to try.
func (f *flights) end(s scope, fl *flight, kept *record) {
	fl.kept = kept
	f.mu.Lock()
	delete(f.running, s)
	f.mu.Unlock()
	close(fl.done)
}

// wait waits for the flight, and returns a little before the deadline of ctx,
// while an answer can still reach the caller.
func (fl *flight) wait(ctx context.Context) error {
	if deadline, ok := ctx.Deadline(); ok {
		margin := min(time.Until(deadline)/10, 100*time.Millisecond)
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-margin))
		defer cancel()
	}
	select {
	case <-fl.done:
		return nil
	case <-ctx.Done():
	}
	if err := ctx.Err(); !errors.Is(err, context.DeadlineExceeded) {
		return fault.From(err)
	}
	return ErrInFlight
}
