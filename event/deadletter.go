package event

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/argosy-go/argosy/broker"
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
	// Error is the error of the last attempt.
	Error string
	// Header and Body are the event as it was received.
	Header map[string]string
	Body   []byte
	// Time is when the consumer gave up.
	Time time.Time
}

// DeadLetterFilter selects dead letters. The zero value selects the oldest 100.
type DeadLetterFilter struct {
	// Consumer selects the letters of one consumer. Empty: of all.
	Consumer string
	// After selects letters with a greater Seq.
	After int64
	// Limit bounds the number. Zero: 100; at most 1000.
	Limit int
}

// DeadLetters lists dead letters, oldest first.
func DeadLetters(ctx context.Context, db *store.DB, f DeadLetterFilter) ([]DeadLetter, error) {
	if f.Limit <= 0 {
		f.Limit = 100
	}
	query := `SELECT seq, consumer, id, topic, part, event_key, event_type, attempts, error, header, body, at
		FROM argosy_dead_letters WHERE seq > $1`
	args := []any{f.After, min(f.Limit, 1000)}
	if f.Consumer != "" {
		query += " AND consumer = $3"
		args = append(args, f.Consumer)
	}
	var letters []DeadLetter
	err := db.Read(ctx, func(ctx context.Context, q store.Querier) error {
		letters = nil
		rows, err := q.QueryContext(ctx, query+" ORDER BY seq LIMIT $2", args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var d DeadLetter
			var header string
			var at store.Time
			if err := rows.Scan(&d.Seq, &d.Consumer, &d.ID, &d.Topic, &d.Partition, &d.Key, &d.Type, &d.Attempts, &d.Error, &header, &d.Body, &at); err != nil {
				return err
			}
			if err := json.Unmarshal([]byte(header), &d.Header); err != nil {
				return fmt.Errorf("headers of dead letter %d: %w", d.Seq, err)
			}
			d.Time = at.Time
			letters = append(letters, d)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("list the dead letters of %s: %w", db.Service(), err)
	}
	return letters, nil
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
	_, err = tx.ExecContext(ctx, `INSERT INTO argosy_dead_letters
		(consumer, id, topic, part, event_key, event_type, attempts, error, header, body, at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (consumer, id) DO NOTHING`,
		l.consumer, l.message.ID, l.message.Topic, l.message.Partition, l.key, l.kind, l.attempts,
		explain(l.cause), string(header), content, store.At(l.at))
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
