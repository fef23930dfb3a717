package event

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/internal/mutant"
	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/telemetry"
)

// incoming is a delivery on its way through the inbox.
type incoming struct {
	message   broker.Message
	meta      Meta
	malformed error        // of the headers
	ack       func() error // nil: the event is pending, the broker is done with it
	seq       int64        // its row in argosy_inbox_pending, when it is pending
	attempts  int          // failed attempts before this one
}

// deliver deals with a delivery: it returns when the event is handled, known,
// pending or a dead letter on disk, and acknowledged, or when the session ends.
func (s *session) deliver(in incoming) {
	for failures := 1; s.ctx.Err() == nil; failures++ {
		err := s.settle(in)
		if err == nil {
			s.acknowledge(in)
			return
		}
		if lost(err) {
			s.cancel(err)
			return
		}
		// The store is failing. Only waiting keeps the order of the key.
		if failures == 1 {
			s.setup.Log().Error("an event can be neither handled nor kept", "consumer", s.durable, "event", in.meta.ID, "error", err)
		}
		pause(s.ctx, backoff{fetchLeast, fetchMost}.after(failures))
	}
}

// settle makes the fate of a delivery durable.
func (s *session) settle(in incoming) error {
	switch {
	case in.malformed == nil && in.meta.Type != s.kind:
		s.count(resultUnknown)
		return nil
	case s.waits(in.meta.Key):
		return s.park(in, nil)
	case in.malformed != nil:
		return s.bury(in, in.malformed)
	case s.expired(in.meta):
		s.count(resultExpired)
		return nil
	}
	if mutant.AckBeforeCommit {
		s.acknowledge(in)
	}
	fresh, err := s.attempt(in)
	switch {
	case err == nil:
		s.handled(in, fresh)
		return nil
	case lost(err), errors.Is(err, store.ErrUnknown):
		return err // nobody may say that this was an attempt
	case errors.Is(err, errBehind):
		if err := s.park(in, nil); err != nil {
			return err
		}
		s.sooner(in.meta.Key, 0)
		return nil
	case errors.Is(err, errUndecodable):
		return s.bury(in, err)
	}
	return s.failed(in, err)
}

func (s *session) acknowledge(in incoming) {
	if in.ack == nil {
		return
	}
	if err := in.ack(); err != nil { // it will be delivered again, and known
		s.setup.Log().Debug("an acknowledgement was lost", "consumer", s.durable, "event", in.meta.ID, "error", err)
	}
}

func (s *session) expired(m Meta) bool {
	return !m.Expires.IsZero() && !s.setup.Now().Before(m.Expires)
}

func (s *session) count(result string) {
	s.metrics.handled.WithLabelValues(s.durable, result).Inc()
}

func (s *session) handled(in incoming, fresh bool) {
	if !fresh {
		s.count(resultDuplicate)
		return
	}
	s.count(resultDone)
	if !in.meta.Time.IsZero() {
		s.metrics.delay.WithLabelValues(s.durable).Observe(max(0, s.setup.Now().Sub(in.meta.Time).Seconds()))
	}
}

const insertInbox = `INSERT INTO argosy_inbox (consumer, id, at) VALUES ($1, $2, $3) ON CONFLICT (consumer, id) DO NOTHING`

// insertInboxFirst is insertInbox unless events of the key are pending, which an
// operator may have put there since the session last looked.
const insertInboxFirst = `INSERT INTO argosy_inbox (consumer, id, at)
SELECT CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS BIGINT)
WHERE NOT EXISTS (SELECT 1 FROM argosy_inbox_pending WHERE consumer = $1 AND event_key = $4)
ON CONFLICT (consumer, id) DO NOTHING`

// errBehind: events of the key are pending, and go first.
var errBehind = errors.New("events of the key are pending")

// attempt runs the consumer's function and remembers the event, in one
// transaction. It reports false for an event that was dealt with before.
func (s *session) attempt(in incoming) (fresh bool, err error) {
	ctx, end := s.begin(in)
	defer func() { end(err) }()
	err = apart(func() error {
		return s.db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
			if err := s.hold.check(ctx, tx); err != nil {
				return err
			}
			if err := s.forgetPending(ctx, tx, in); err != nil {
				return err
			}
			fresh, err = s.remember(ctx, tx, in)
			if err != nil || !fresh {
				return err
			}
			return s.handle(ctx, tx, in.message.Body)
		})
	})
	return fresh, err
}

// begin returns the context of an attempt: detached from everything that may
// end while it runs, with the publisher's trace and the event's Meta.
func (s *session) begin(in incoming) (context.Context, func(error)) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), s.timeout)
	if in.meta.trace != "" {
		ctx = telemetry.WithTraceparent(ctx, in.meta.trace)
	}
	ctx, span := s.setup.Telemetry().Tracer().Start(ctx, "consume "+s.kind, trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(attribute.String("service.name", s.setup.Name()), attribute.String("messaging.message.id", in.meta.ID)))
	meta := in.meta
	meta.Attempt = in.attempts + 1
	return withMeta(ctx, meta), func(err error) {
		if err != nil {
			span.SetStatus(otelcodes.Error, fault.CodeOf(err).String())
		}
		span.End()
		cancel()
	}
}

// remember records the event as dealt with and reports whether it is new.
func (s *session) remember(ctx context.Context, tx *store.Tx, in incoming) (bool, error) {
	if mutant.NoInbox {
		return true, nil
	}
	query, args := insertInbox, []any{s.durable, in.id(), store.At(s.setup.Now())}
	if in.seq == 0 {
		query, args = insertInboxFirst, append(args, in.meta.Key)
	}
	result, err := tx.ExecContext(ctx, query, args...)
	if err != nil {
		return false, fmt.Errorf("remember the event: %w", err)
	}
	n, err := result.RowsAffected()
	if err != nil || n > 0 || in.seq != 0 {
		return n > 0, err
	}
	err = tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM argosy_inbox WHERE consumer = $1 AND id = $2", s.durable, in.id()).Scan(&n)
	if err == nil && n == 0 {
		err = errBehind
	}
	return false, err
}

// panicked is the error of a function that panicked.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// apart runs f on a goroutine of its own and waits for it, so that a panic
// and runtime.Goexit in it are errors and end nothing else.
func apart(f func() error) error {
	result := make(chan error, 1)
	go func() {
		err := error(&panicked{value: "the function ended its goroutine"})
		defer func() {
			if v := recover(); v != nil {
				err = &panicked{value: v, stack: debug.Stack()}
			}
			result <- err
		}()
		err = f()
	}()
	return <-result
}
