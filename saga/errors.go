package saga

import (
	"errors"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
)

// The errors of sagas. They are [fault.Error]s: compare with errors.Is.
var (
	// ErrExists: the saga has a run of that id already.
	ErrExists = fault.New(codes.AlreadyExists, "SAGA_EXISTS", "the saga has a run of that id already")
	// ErrNotFound: the saga has no run of that id.
	ErrNotFound = fault.New(codes.NotFound, "SAGA_NOT_FOUND", "the saga has no run of that id")
	// ErrParked: the run is parked, so that it must be resumed first.
	ErrParked = fault.New(codes.FailedPrecondition, "SAGA_PARKED", "the run is parked: resume it first")
	// ErrNotParked: the run is not parked, so that it cannot be resumed.
	ErrNotParked = fault.New(codes.FailedPrecondition, "SAGA_NOT_PARKED", "the run is not parked")
	// ErrCancelled: why a cancelled run was compensated.
	ErrCancelled = fault.New(codes.Canceled, "RUN_CANCELLED", "the run was cancelled")
	// ErrChanged: a run was parked since it does not fit the program's list.
	ErrChanged = fault.New(codes.FailedPrecondition, "SAGA_CHANGED", "the run does not fit the saga that the program defines")
	// ErrTimeout: the signal of an Await did not come in time.
	ErrTimeout = fault.New(codes.DeadlineExceeded, "SIGNAL_TIMEOUT", "the signal did not come in time")
	// ErrDeadline: the run did not reach its pivot in time.
	ErrDeadline = fault.New(codes.DeadlineExceeded, "SAGA_DEADLINE", "the run did not reach its pivot before its deadline")
	// ErrCrashes: a run was parked since processes kept ending while they took
	// its step.
	ErrCrashes = fault.New(codes.Aborted, "SAGA_CRASHES", "processes kept ending while they took the step")
	// ErrKeyExpired: a run was parked since the outcome of its step is unknown
	// and the step's key may have been forgotten: see KeyLife.
	ErrKeyExpired = fault.New(codes.FailedPrecondition, "SAGA_KEY_EXPIRED", "the outcome of the step is unknown, and its key is too old to ask again")
	// ErrEnd: the End function kept failing.
	ErrEnd = fault.New(codes.Internal, "SAGA_END_FAILED", "the End function kept failing")
)

var (
	errUndefined = errors.New("the saga was not made by saga.Define")
	// errDraining is the cause of a context that ended because the program stops.
	errDraining = errors.New("the program stops")
	// errLost says that the run's row is no longer as its worker knew it: another
	// instance has claimed the run, or a cancel has come.
	errLost = errors.New("the run has changed hands or was cancelled")
)
