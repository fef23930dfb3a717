package store

import "context"

type backgroundKey struct{}

// Background returns a context whose transactions and reads are work for which
// no caller waits. A store with a bounded number of connections does not refuse
// it when none is free: it waits until its context ends, and as much of it as
// there may be never stands between a caller and a connection. It is for
// mechanisms, not for services.
func Background(ctx context.Context) context.Context {
	return context.WithValue(ctx, backgroundKey{}, true)
}

// IsBackground reports whether ctx comes from [Background].
func IsBackground(ctx context.Context) bool { return ctx.Value(backgroundKey{}) != nil }
