package rpc

import (
	"context"
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// DegradedHeader is in the trailer of a reply that is not what it should be:
// its values are the methods for which a fallback answered.
const DegradedHeader = "argosy-degraded"

// Degraded collects which answers were degraded. Safe for concurrent use.
type Degraded struct {
	mu      sync.Mutex
	methods []string
}

type degradedKey struct{}

// WatchDegraded returns a context whose calls tell the Degraded whenever an
// answer was a fallback's, here or in a service further down. The reply of the
// call that is being served is marked all the same, watched or not.
func WatchDegraded(ctx context.Context) (context.Context, *Degraded) {
	d := new(Degraded)
	return context.WithValue(ctx, degradedKey{}, d), d
}

// Methods returns the methods for which a fallback answered so far, each once.
// Empty: all answers were what they should be.
func (d *Degraded) Methods() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.methods)
}

// add returns those that are new.
func (d *Degraded) add(methods ...string) (fresh []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range methods {
		if !slices.Contains(d.methods, m) {
			d.methods = append(d.methods, m)
			fresh = append(fresh, m)
		}
	}
	return fresh
}

// watcher listens to one call, for a Degraded and for the reply of the call
// that is being served.
type watcher struct {
	d       *Degraded // nil: only for the reply
	trailer metadata.MD
	room    [4]grpc.CallOption
}

// degradedOf returns nil when there is nobody to tell.
func degradedOf(ctx context.Context) *watcher {
	d, ok := ctx.Value(degradedKey{}).(*Degraded)
	if !ok && grpc.ServerTransportStreamFromContext(ctx) == nil {
		return nil
	}
	return &watcher{d: d}
}

// listen returns the options with one more, which receives the trailer.
func (w *watcher) listen(opts []grpc.CallOption) []grpc.CallOption {
	return append(append(w.room[:0], opts...), grpc.Trailer(&w.trailer))
}

// look passes on what the reply says, to the Degraded and to the reply of the
// call that is being served.
func (w *watcher) look(ctx context.Context) {
	methods := w.trailer.Get(DegradedHeader)
	if len(methods) == 0 {
		return
	}
	if w.d != nil {
		w.d.add(methods...)
	}
	relay(ctx, methods)
}

// mark marks an answer that a fallback gave in place of the method, in the
// trailer that the caller asked for. A watcher does the rest.
func mark(method string, opts []grpc.CallOption) {
	for _, o := range opts {
		if t, ok := o.(grpc.TrailerCallOption); ok {
			*t.TrailerAddr = metadata.Pairs(DegradedHeader, method)
		}
	}
}

// relay marks the reply of the call that is being served with the context, if
// one is. A handler that asks in a loop marks it once.
func relay(ctx context.Context, methods []string) {
	if grpc.ServerTransportStreamFromContext(ctx) == nil {
		return
	}
	if c, ok := ctx.Value(servedKey{}).(*served); ok {
		if methods = c.degraded.add(methods...); len(methods) == 0 {
			return
		}
	}
	// It fails only when the reply has gone, and then nobody can be told.
	_ = grpc.SetTrailer(ctx, metadata.MD{DegradedHeader: methods})
}
