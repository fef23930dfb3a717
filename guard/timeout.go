package guard

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
)

// reasonAttempt is the reason of an attempt that ran out of its own time,
// while the call has some left.
const reasonAttempt = "ATTEMPT_TIMEOUT"

var errAttempt = fault.New(codes.DeadlineExceeded, reasonAttempt, "the attempt took too long")

// within runs an attempt in its own time, which ends before the call's: a lost
// packet or a stopped process costs one attempt, not the call. What became of
// it is unknown, so only what may be sent twice is tried again.
func within(ctx context.Context, d time.Duration, attempt func(ctx context.Context) error) error {
	inner, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	err := attempt(inner)
	if err != nil && ctx.Err() == nil && inner.Err() == context.DeadlineExceeded {
		if e := fault.From(err); e.Code == codes.DeadlineExceeded && !e.NotDone {
			return errAttempt.Wrap(err)
		}
	}
	return err
}
