package event

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/internal/mutant"
	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/telemetry"
)

// ErrOutboxFull: too many events wait for the broker. Nothing was written.
var ErrOutboxFull = fault.New(codes.ResourceExhausted, "OUTBOX_FULL", "too many events wait for the broker").
	WithRetryAfter(5 * time.Second).Refused()

// Publisher publishes events of type M. It comes from [Publishes] and is safe
// for concurrent use; publishing with the zero Publisher fails the transaction.
type Publisher[M proto.Message] struct {
	runtime  *runtime
	contract contract
}

// Publishes declares that the service publishes M. The message option
// (argosy.v1.event) of M names its key and topic; without it, or with a key
// that is no string or integer field, the program does not start.
func Publishes[M proto.Message](s *service.Setup) Publisher[M] {
	c, err := contractOf[M]()
	if err != nil {
		s.Fail(fmt.Errorf("publishes: %w", err))
		return Publisher[M]{}
	}
	r := runtimeOf(s)
	r.addTopic(c.topic)
	s.Declare(service.Edge{Kind: service.Publishes, Name: c.topic, Message: c.kind})
	return Publisher[M]{runtime: r, contract: c}
}

// PublishOption varies one publication.
type PublishOption interface{ publish(*outgoing) }

type expires time.Time

func (e expires) publish(o *outgoing) { o.expires = time.Time(e) }

// Expires says when the event stops being worth handling: consumers pass over
// it from then on. The deadline of the publishing call is no expiry.
func Expires(at time.Time) PublishOption { return expires(at) }

// Publish publishes m when, and only when, tx commits. m may be changed after
// it has returned. An error (the message has no key, is too large for the
// broker, or the outbox is full) sticks to tx and fails its commit.
func (p Publisher[M]) Publish(tx *store.Tx, m M, opts ...PublishOption) {
	if err := p.collect(tx, m, opts); err != nil {
		tx.Fail(fmt.Errorf("publish %s: %w", p.contract.kind, err))
	}
}

// outgoing is a row of argosy_outbox.
type outgoing struct {
	seq       int64
	id        string
	topic     string
	partition int
	key       string
	kind      string
	at        time.Time
	expires   time.Time
	trace     string
	body      []byte
}

func (p Publisher[M]) collect(tx *store.Tx, m M, opts []PublishOption) error {
	r := p.runtime
	switch {
	case r == nil:
		return fault.New(codes.Internal, "PUBLISHER_NOT_DECLARED", "the publisher does not come from event.Publishes")
	case tx.DB() != r.db:
		return fault.New(codes.Internal, "FOREIGN_TRANSACTION", "the transaction belongs to %s and the publisher to %s", tx.DB().Service(), r.setup.Name())
	case !m.ProtoReflect().IsValid():
		return fault.New(codes.Internal, "EVENT_NIL", "the event is nil")
	case r.depth.Load() >= int64(r.settings.OutboxLimit):
		return ErrOutboxFull.WithMetadata("service", r.setup.Name())
	}
	o := outgoing{topic: p.contract.topic, kind: p.contract.kind, key: p.contract.keyOf(m), at: r.setup.Now()}
	if o.key == "" {
		return fault.New(codes.Internal, "EVENT_KEY_EMPTY", "the key field %s is empty", p.contract.key.Name())
	}
	o.partition = partitionOf(o.key)
	o.trace = telemetry.Traceparent(tx.Context())
	for _, opt := range opts {
		opt.publish(&o)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("make an event id: %w", err)
	}
	o.id = id.String()
	if o.body, err = proto.Marshal(m); err != nil {
		return fault.New(codes.Internal, "EVENT_INVALID", "the event cannot be encoded").Wrap(err)
	}
	if err := r.fits(o); err != nil {
		return err
	}
	store.Collect(tx, o, r.insert)
	return nil
}

// envelope is more than what headers and framing add to a message, apart from
// key, type, topic and trace. A key may travel percent-encoded.
const envelope = 512

// fits checks the size of the message against the broker's limit, on the safe side.
func (r *runtime) fits(o outgoing) error {
	b := r.setup.Broker()
	if b == nil {
		return nil
	}
	size := len(o.body) + 3*len(o.key) + len(o.kind) + 2*len(o.topic) + len(o.trace) + envelope
	if limit := b.MaxMessageBytes(); limit > 0 && size > limit {
		return broker.ErrTooLarge.WithMessage("an event of %d bytes with its headers is over the broker's limit of %d", size, limit)
	}
	return nil
}

// insert writes the events of a transaction, as its last statements.
func (r *runtime) insert(ctx context.Context, tx *store.Tx, events []outgoing) error {
	keys := make([]string, len(events))
	for i, o := range events {
		keys[i] = o.topic + " " + o.key // what the broker and consumers keep in order
	}
	if !mutant.NoKeyLock {
		if err := store.LockKeys(ctx, tx, "argosy_outbox", keys...); err != nil {
			return err
		}
	}
	for rest := events; len(rest) > 0; {
		n := rowsAtOnce(len(rest))
		if err := insertOutbox(ctx, tx, rest[:n]); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
		rest = rest[n:]
	}
	var touched [partitions]bool
	for _, o := range events {
		touched[o.partition] = true
	}
	tx.AfterCommit(func() {
		r.depth.Add(int64(len(events)))
		for p, yes := range touched {
			if yes {
				r.db.Notify(outboxTopic(p))
			}
		}
	})
	return nil
}

// rowsAtOnce returns how many of n rows one statement writes: a few fixed
// numbers, so that engines which keep prepared statements keep few.
func rowsAtOnce(n int) int {
	switch {
	case n >= 64:
		return 64
	case n >= 8:
		return 8
	}
	return 1
}

// insertOutbox writes events in one statement.
func insertOutbox(ctx context.Context, tx *store.Tx, events []outgoing) error {
	const columns = 9
	var b strings.Builder
	b.WriteString("INSERT INTO argosy_outbox (id, topic, part, event_key, event_type, at, expires, trace, body) VALUES ")
	args := make([]any, 0, columns*len(events))
	for i, o := range events {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString("(" + placeholders(len(args)+1, columns) + ")")
		args = append(args, o.id, o.topic, o.partition, o.key, o.kind, store.At(o.at), store.At(o.expires), o.trace, o.body)
	}
	_, err := tx.ExecContext(ctx, b.String(), args...)
	return err
}

// message returns o as it travels.
func (o outgoing) message(source string) broker.Message {
	m := Meta{ID: o.id, Key: o.key, Source: source, Type: o.kind, Time: o.at, Expires: o.expires, trace: o.trace}
	return broker.Message{ID: o.id, Topic: o.topic, Partition: o.partition, Header: m.header(), Body: o.body}
}
