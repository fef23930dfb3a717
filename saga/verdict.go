package saga

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
)

// verdict is what an error says about the effect of an attempt.
type verdict int

const (
	// unknown: it may have had its effect. Ask again under the same key.
	unknown verdict = iota
	// notDone: it certainly had no effect, and may have one later.
	notDone
	// refused: it had no effect, and asking again will not help.
	refused
)

// judge reads an error. A step says "refused" with a fault.Error (or a gRPC
// status) of one of the codes below; a plain error, a deadline, a panic is
// unknown. ABORTED, RESOURCE_EXHAUSTED and UNAVAILABLE are worth another try.
func judge(err error) verdict {
	f := fault.From(err)
	switch f.Code {
	case codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.FailedPrecondition, codes.OutOfRange,
		codes.PermissionDenied, codes.Unauthenticated, codes.Unimplemented:
		return refused
	}
	if f.NotDone {
		return notDone
	}
	return unknown
}

// conclusive reports whether a refusal also settles an earlier attempt of
// unknown outcome: a participant that keeps replies would have repeated its
// success under the same key, so a refusal on the facts means that there was
// none. A refusal at the door (not signed in, no such method) says nothing of
// it, and ALREADY_EXISTS may well be the earlier attempt.
func conclusive(err error) bool {
	switch fault.CodeOf(err) {
	case codes.InvalidArgument, codes.NotFound, codes.FailedPrecondition, codes.OutOfRange:
		return true
	}
	return false
}

// backoff returns the pause after the attempt-th failure: doubled each time up
// to the ceiling, half of it random, and not before the error's own hint.
func backoff(s *step, attempt int, err error) time.Duration {
	d := s.ceiling
	if n := attempt - 1; n < 30 && s.first<<n > 0 {
		d = min(s.first<<n, s.ceiling)
	}
	d = d/2 + rand.N(d/2+1)
	if f := fault.From(err); f != nil {
		d = max(d, min(f.RetryAfter, time.Hour))
	}
	return d
}

// interrupted reports whether ctx ended for the drain and not for its deadline.
func interrupted(ctx context.Context) bool { return errors.Is(context.Cause(ctx), errDraining) }

func (v verdict) String() string { return [...]string{"unknown", "not done", "refused"}[v] }
