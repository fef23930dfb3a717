package saga

import (
	"context"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/rpc"
	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/telemetry"
)

// Key returns the key of the step that ctx belongs to, "<saga>/<run>/<step>"
// with "/undo" while it is undone, and "" outside of a step. It is the same in
// every attempt, and calls to services of the fleet carry it by themselves: a
// step that calls something else sends it along, so that the other side can
// tell a repetition. A step that makes several calls derives a key for each
// with idempotency.Sub: a client of the fleet refuses to call one method twice
// under one key in one attempt.
func Key(ctx context.Context) string { return rpc.OutgoingIdempotencyKey(ctx) }

// context returns what all work on a run is done in: it carries the trace that
// started the run, and the service as the caller. Nobody waits for the work.
func (e *engine) context(r *record) context.Context {
	ctx := auth.With(e.base, auth.Principal{Subject: e.s.Name(), Roles: []string{auth.RoleService}, Service: e.s.Name()})
	return store.Background(telemetry.WithTraceparent(ctx, r.trace))
}

// patience is how long one attempt may take: no longer than what is left until
// a deadline.
func (e *engine) patience(r *record, s *step) time.Duration {
	d, now := s.timeout, e.now().UnixMicro()
	until := func(at int64) {
		if left := time.Duration(at-now) * time.Microsecond; left > 0 { // else it is the attempt after a crash
			d = min(d, left)
		}
	}
	if r.status == forward && s.limited() {
		until(r.wake)
	}
	if r.status == forward && !r.pivoted && r.deadline > 0 {
		until(r.deadline)
	}
	return d
}

// enter returns the context of one attempt, and a function that ends it.
func (e *engine) enter(r *record, s *step) (context.Context, func(error)) {
	ctx, cancel := context.WithTimeout(r.ctx, e.patience(r, s))
	ctx = rpc.WithKeysOnce(rpc.WithIdempotencyKey(ctx, r.stepKey()))
	if _, item, ok := strings.Cut(r.step, "/"); ok {
		ctx = context.WithValue(ctx, itemKey{}, item)
	}
	if r.trace == "" {
		return ctx, func(error) { cancel() }
	}
	name := "saga " + r.saga + "/" + s.name
	if r.status == backward {
		name += "/undo"
	}
	ctx, span := e.s.Telemetry().TracerOf(e.s.Name()).Start(ctx, name, trace.WithAttributes(
		attribute.String("argosy.saga", r.saga), attribute.String("argosy.run", r.id),
		attribute.String("argosy.step", s.name), attribute.Int("argosy.attempt", r.attempt+1)))
	return ctx, func(err error) {
		if err != nil {
			span.SetStatus(codes.Error, judge(err).String())
		}
		span.End()
		cancel()
	}
}
