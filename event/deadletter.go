package event

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/store"
)

// DeadLetter is an event that a consumer gave up on.
type DeadLetter struct {
	// Seq orders the letters of a service, and pages through them.
	Seq int64
	// Consumer is the durable name of the consumer, as in
	// "inventory/argosy.shop.order.v1.OrderPlaced". Empty: the service could
	// not publish the event, because the broker does not take one of that size.
	Consumer string
	// ID, Key and Type are those of the event, as far as they could be read. An
	// ID that is no UUID has the source before it.
	ID, Key, Type string
	// Topic and Partition are where the event came from.
	Topic     string
	Partition int
	// Attempts counts what was tried.
	Attempts int
	// Code and Reason are those of the error of the last attempt: a
	// gRPC code as google.rpc.Code spells it, and the reason of a [fault.Error],
	// where it had one.
	Code, Reason string
	// Error is its text, for operators: it was not shown to any caller.
	Error string
	// Header and Body are the event as it was received.
	Header map[string]string
	Body   []byte
	// Time is when the consumer gave up.
	Time time.Time
}

// DeadLetterFilter selects dead letters; what is empty does not restrict. The
// zero value selects the oldest 100.
type DeadLetterFilter struct {
	// Consumer selects the letters of one consumer, Type those of one message,
	// Key those of one key.
	Consumer, Type, Key string
	// Letters selects these ones, at most 1000.
	Letters []DeadLetterID
	// After selects letters with a greater Seq.
	After int64
	// Limit bounds the number. Zero: 100; at most 1000.
	Limit int

	before time.Time // those that are older
}

// DeadLetterID names a dead letter: an event may be one of several consumers.
type DeadLetterID struct{ ID, Consumer string }

// mostLetters is how many dead letters one call is about.
const mostLetters = 1000

// DeadLetters lists dead letters, oldest first.
func DeadLetters(ctx context.Context, db *store.DB, f DeadLetterFilter) ([]DeadLetter, error) {
	var letters []DeadLetter
	err := db.Read(ctx, func(ctx context.Context, q store.Querier) (err error) {
		letters, err = f.read(ctx, q)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the dead letters of %s: %w", db.Service(), err)
	}
	return letters, nil
}

// query returns the statement that selects the letters.
func (f DeadLetterFilter) query() (string, []any) {
	var b strings.Builder
	b.WriteString(`SELECT seq, consumer, id, topic, part, event_key, event_type, attempts, code, reason, error, header, body, at
		FROM argosy_dead_letters WHERE seq > $1`)
	args := []any{f.After}
	for _, c := range [...]struct{ column, value string }{{"consumer", f.Consumer}, {"event_type", f.Type}, {"event_key", f.Key}} {
		if c.value != "" {
			args = append(args, c.value)
			fmt.Fprintf(&b, " AND %s = $%d", c.column, len(args))
		}
	}
	if !f.before.IsZero() {
		args = append(args, store.At(f.before))
		fmt.Fprintf(&b, " AND at < $%d", len(args))
	}
	if len(f.Letters) > 0 {
		b.WriteString(" AND (1 = 0")
		for _, l := range f.Letters {
			fmt.Fprintf(&b, " OR (id = $%d AND consumer = $%d)", len(args)+1, len(args)+2)
			args = append(args, l.ID, l.Consumer)
		}
		b.WriteString(")")
	}
	limit := f.Limit
	if limit <= 0 {
		limit = 100
	}
	fmt.Fprintf(&b, " ORDER BY seq LIMIT %d", min(limit, mostLetters))
	return b.String(), args
}

func (f DeadLetterFilter) read(ctx context.Context, q store.Querier) ([]DeadLetter, error) {
	query, args := f.query()
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var letters []DeadLetter
	for rows.Next() {
		var d DeadLetter
		var header string
		var at store.Time
		if err := rows.Scan(&d.Seq, &d.Consumer, &d.ID, &d.Topic, &d.Partition, &d.Key, &d.Type, &d.Attempts,
			&d.Code, &d.Reason, &d.Error, &header, &d.Body, &at); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(header), &d.Header); err != nil {
			return nil, fmt.Errorf("headers of dead letter %d: %w", d.Seq, err)
		}
		d.Time = at.Time
		letters = append(letters, d)
	}
	return letters, rows.Err()
}

// Message decodes the event, when this program knows its type; it reports false
// for one that it does not know or cannot decode.
func (d DeadLetter) Message() (proto.Message, bool) {
	kind, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(d.Type))
	if err != nil {
		return nil, false
	}
	m := kind.New().Interface()
	return m, proto.Unmarshal(d.Body, m) == nil
}

// letter is a dead letter to be written.
type letter struct {
	consumer  string
	message   broker.Message
	kind, key string
	attempts  int
	cause     error
	at        time.Time
}

// bury writes a dead letter, once for a consumer and event.
func bury(ctx context.Context, tx *store.Tx, l letter) error {
	header, err := json.Marshal(l.message.Header)
	if err != nil {
		return fmt.Errorf("keep the headers of event %s: %w", l.message.ID, err)
	}
	content := l.message.Body
	if content == nil {
		content = []byte{}
	}
	problem := fault.From(l.cause).Problem()
	_, err = tx.ExecContext(ctx, `INSERT INTO argosy_dead_letters
		(consumer, id, topic, part, event_key, event_type, attempts, code, reason, error, header, body, at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT (consumer, id) DO NOTHING`,
		l.consumer, l.message.ID, l.message.Topic, l.message.Partition, l.key, l.kind, l.attempts,
		problem.Code, problem.Reason, explain(l.cause), string(header), content, store.At(l.at))
	return err
}

// contentID names a message without an id by what is in it.
func contentID(m broker.Message) string {
	h := sha256.New()
	names := make([]string, 0, len(m.Header))
	for name := range m.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(h, "%q:%q\n", name, m.Header[name])
	}
	h.Write(m.Body)
	return "sha256-" + hex.EncodeToString(h.Sum(nil))
}
