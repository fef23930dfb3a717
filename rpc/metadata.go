package rpc

import (
	"context"

	"github.com/argosy-go/argosy/guard"
)

// Metadata names of Argosy, beside the standard "authorization" and "traceparent".
const (
	// KeyHeader carries the idempotency key; on HTTP it is the header Idempotency-Key.
	KeyHeader = "idempotency-key"
	// CriticalityHeader says what the call is worth in an overload: "critical",
	// "default" or "sheddable". Only a service of the fleet is believed that its
	// call is critical.
	CriticalityHeader = "argosy-criticality"
	// OriginHeader is the address for which an edge in the process makes a call.
	// From elsewhere it is not read.
	OriginHeader = "argosy-origin"
)

type (
	incomingKey struct{}
	outgoingKey struct{}
	worthKey    struct{}
)

// incoming is what the server chain knows of the call that is being served.
type incoming struct{ method, key string }

// WithIncoming returns a context as a handler of the method ("/pkg.Svc/M") gets
// it for a call with that idempotency key. The server chain makes it; it is
// exported for tests and for mechanisms that call handlers themselves.
func WithIncoming(ctx context.Context, method, key string) context.Context {
	return context.WithValue(ctx, incomingKey{}, &incoming{method, key})
}

// IdempotencyKey returns the key of the call that is being served, "" when it
// brought none or no call is being served.
func IdempotencyKey(ctx context.Context) string {
	if in, ok := ctx.Value(incomingKey{}).(*incoming); ok {
		return in.key
	}
	return ""
}

// MethodName returns the full method ("/pkg.Svc/M") that is being served, ""
// when none is.
func MethodName(ctx context.Context) string {
	if in, ok := ctx.Value(incomingKey{}).(*incoming); ok {
		return in.method
	}
	return ""
}

// WithIdempotencyKey returns a context whose next call carries the key. Each
// further call needs its own: see package idempotency.
func WithIdempotencyKey(ctx context.Context, key string) context.Context {
	return context.WithValue(ctx, outgoingKey{}, key)
}

// OutgoingIdempotencyKey returns the key that the next call carries, or "".
func OutgoingIdempotencyKey(ctx context.Context) string {
	key, _ := ctx.Value(outgoingKey{}).(string)
	return key
}

// WithCriticality returns a context whose calls are worth c, and so are the
// calls that are made to serve them.
func WithCriticality(ctx context.Context, c guard.Criticality) context.Context {
	return context.WithValue(ctx, worthKey{}, c)
}

// CriticalityOf returns what the call that is being served, or is about to be
// made, is worth.
func CriticalityOf(ctx context.Context) guard.Criticality {
	c, _ := ctx.Value(worthKey{}).(guard.Criticality)
	return c
}
