package rpc

import (
	"context"
	"sync"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
)

// errKeyTwice is of unknown outcome, since the first call may have had its
// effect: whoever undoes what was done must undo that too.
var errKeyTwice = fault.New(codes.Internal, "KEY_USED_TWICE",
	"a method was called twice under one idempotency key, so that the second call would get the reply to the first: give each call a key of its own with idempotency.Sub")

type onceKey struct{}

// once is the calls that were made with a context.
type once struct {
	mu   sync.Mutex
	made map[call]bool
}

type call struct{ method, key string }

// WithKeysOnce returns a context in which a method is called at most once with
// one outgoing key: a second call is an error of the calling code, and is not
// made. Retries of the client chain are one call. It is for attempts that have
// one key, as those of a saga's step.
func WithKeysOnce(ctx context.Context) context.Context {
	return context.WithValue(ctx, onceKey{}, &once{made: map[call]bool{}})
}

// UseKey notes that the method is called with the outgoing key of ctx, and
// returns the error of a second call. The client chain does it.
func UseKey(ctx context.Context, method string) error {
	o, ok := ctx.Value(onceKey{}).(*once)
	key := OutgoingIdempotencyKey(ctx)
	if !ok || key == "" {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	c := call{method, key}
	if o.made[c] {
		return errKeyTwice.WithMetadata("method", method)
	}
	o.made[c] = true
	return nil
}
