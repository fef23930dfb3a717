package rpc

import (
	"log/slog"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/argosy-go/argosy/fault"
)

// ReasonUnreachable: there is no connection to the service that is called, or
// it broke before the answer.
const ReasonUnreachable = "UNREACHABLE"

// unreachable keeps what the network says of a contract in this process: it
// names addresses, which are nothing for callers outside.
type unreachable struct {
	contract protoreflect.FullName
	log      *slog.Logger
	told     atomic.Int64 // when it was logged last, in Unix nanoseconds
}

// tellEvery is how often an outage is logged.
const tellEvery = 10 * time.Second

// instead returns the error for the caller in place of one that the transport
// made, which is its cause, and logs that now and then. An error of a server of
// Argosy names its service; that of another server tells its reason, or else is
// taken for the network's when it is UNAVAILABLE.
func (u *unreachable) instead(err error) error {
	e := fault.From(err)
	if e == nil || e.Code != codes.Unavailable || e.Reason != "" || e.Service != "" {
		return err
	}
	if now, last := time.Now().UnixNano(), u.told.Load(); now-last > int64(tellEvery) && u.told.CompareAndSwap(last, now) {
		u.log.Warn("a service cannot be reached", "contract", u.contract, "error", err)
	}
	is := fault.New(codes.Unavailable, ReasonUnreachable, "%s cannot be reached", u.contract).Wrap(err)
	is.Metadata, is.RetryAfter, is.NotDone = e.Metadata, e.RetryAfter, e.NotDone
	return is
}
