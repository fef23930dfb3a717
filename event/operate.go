package event

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/store"
)

// Operator is who does something by hand, and why. It is stored with what was done.
type Operator struct {
	// Actor names who does it. Empty: "unknown"; at most 200 bytes.
	Actor string
	// Reason says why. DiscardDeadLetters needs one.
	Reason string
}

// The actions in an [AuditRecord].
const (
	ActionReplay  = "replay"  // a dead letter was given back to its consumer
	ActionDiscard = "discard" // a dead letter was deleted
	ActionRewind  = "rewind"  // a consumer was sent back to an earlier position
	ActionExpire  = "expire"  // a dead letter was deleted for its age
)

// AuditRecord is one thing that an operator did.
type AuditRecord struct {
	// Seq orders the records of a service, and pages through them.
	Seq    int64
	Time   time.Time
	Actor  string
	Action string
	// Consumer is the durable name of the consumer that it was done to.
	Consumer string
	// ID, Key and Type are those of the dead letter; empty for a rewind.
	ID, Key, Type string
	// Reason is what the operator gave.
	Reason string
}

// operateBatch is how many letters one transaction is about, so that operators
// keep nobody waiting.
const operateBatch = 100

// replayBase is where the sequence numbers of replayed letters begin. They are
// negative, so what is replayed goes before what waits for its key.
const replayBase = math.MinInt64 / 2

// ReplayDeadLetters gives dead letters back to their consumers, and returns how
// many. Each is tried again with fresh attempts, before the events of its key
// that wait, and those of one key in the order in which they were given up. It
// has its effect once. A letter that expired meanwhile is passed over; one that
// could not be published is published again.
//
// It is safe while the consumers run, in this process or another.
func ReplayDeadLetters(ctx context.Context, db *store.DB, f DeadLetterFilter, by Operator) (int, error) {
	n, err := operate(ctx, db, f, by, ActionReplay, replay)
	if err != nil {
		return n, fmt.Errorf("replay dead letters of %s: %w", db.Service(), err)
	}
	return n, nil
}

// DiscardDeadLetters deletes dead letters for good, and returns how many. The
// reason of by must not be empty.
func DiscardDeadLetters(ctx context.Context, db *store.DB, f DeadLetterFilter, by Operator) (int, error) {
	if by.Reason == "" {
		return 0, fault.Invalid("reason", "say why the letters are discarded")
	}
	n, err := operate(ctx, db, f, by, ActionDiscard, discard)
	if err != nil {
		return n, fmt.Errorf("discard dead letters of %s: %w", db.Service(), err)
	}
	return n, nil
}

// operate does something to letters, in transactions of a few, each with the
// records of it.
func operate(ctx context.Context, db *store.DB, f DeadLetterFilter, by Operator, action string,
	do func(ctx context.Context, tx *store.Tx, d DeadLetter, place int64) error) (int, error) {
	left := f.Limit
	if left <= 0 {
		left = 100
	}
	left = min(left, mostLetters)
	done := 0
	for left > 0 {
		f.Limit = min(left, operateBatch)
		var letters []DeadLetter
		err := db.Do(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
			if err := oneOperator(ctx, tx); err != nil {
				return err
			}
			if letters, err = f.read(ctx, tx); err != nil {
				return err
			}
			return each(ctx, tx, letters, by, action, do)
		})
		if err != nil {
			return done, err
		}
		done += len(letters)
		left -= f.Limit
		if len(letters) < f.Limit {
			break
		}
	}
	return done, nil
}

// oneOperator keeps other operators out until the transaction has ended. A
// store that runs transactions in parallel runs the later one again.
func oneOperator(ctx context.Context, tx *store.Tx) error {
	_, _, err := store.ClaimLease(ctx, tx, "event/operator", uuid.NewString(), endOfTime, 0)
	return err
}

func each(ctx context.Context, tx *store.Tx, letters []DeadLetter, by Operator, action string,
	do func(ctx context.Context, tx *store.Tx, d DeadLetter, place int64) error) error {
	var last int64
	err := tx.QueryRowContext(ctx, "SELECT COALESCE(MAX(seq), $1) FROM argosy_inbox_pending WHERE seq < 0", int64(replayBase)).Scan(&last)
	if err != nil {
		return err
	}
	topics := map[string]bool{}
	for i, d := range letters {
		if err := do(ctx, tx, d, last+1+int64(i)); err != nil {
			return fmt.Errorf("dead letter %s: %w", d.ID, err)
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM argosy_dead_letters WHERE seq = $1", d.Seq); err != nil {
			return err
		}
		if err := audit(ctx, tx, AuditRecord{Time: time.Now(), Action: action, Consumer: d.Consumer, ID: d.ID, Key: d.Key, Type: d.Type}, by); err != nil {
			return err
		}
		if topics[inboxTopic(d.Consumer)] = true; d.Consumer == "" {
			topics[outboxTopic(d.Partition)] = true
		}
	}
	tx.AfterCommit(func() {
		for topic := range topics {
			tx.DB().Notify(topic)
		}
	})
	return nil
}

func discard(context.Context, *store.Tx, DeadLetter, int64) error { return nil }

// replay puts a letter where its consumer finds it, at a place.
func replay(ctx context.Context, tx *store.Tx, d DeadLetter, place int64) error {
	if d.Consumer == "" {
		return republish(ctx, tx, d)
	}
	header, err := json.Marshal(d.Header)
	if err != nil {
		return err
	}
	body := d.Body
	if body == nil {
		body = []byte{}
	}
	// A copy of the event that waits already is the same event.
	if _, err := tx.ExecContext(ctx, "DELETE FROM argosy_inbox_pending WHERE consumer = $1 AND id = $2", d.Consumer, d.ID); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO argosy_inbox_pending
		(seq, consumer, id, topic, part, event_key, attempts, due, error, header, body, at)
		VALUES ($1, $2, $3, $4, $5, $6, 0, 0, '', $7, $8, $9)`,
		place, d.Consumer, d.ID, d.Topic, d.Partition, d.Key, string(header), body, store.At(time.Now()))
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "DELETE FROM argosy_inbox WHERE consumer = $1 AND id = $2", d.Consumer, d.ID)
	return err
}

// republish puts a letter back into the outbox.
func republish(ctx context.Context, tx *store.Tx, d DeadLetter) error {
	m, err := decodeHeader(d.Header)
	if err != nil {
		return err
	}
	o := outgoing{id: m.ID, topic: d.Topic, partition: d.Partition, key: d.Key, kind: d.Type, at: m.Time, expires: m.Expires, trace: m.trace, body: d.Body}
	if o.body == nil {
		o.body = []byte{}
	}
	return insertOutbox(ctx, tx, []outgoing{o})
}

// audit writes down what an operator did.
func audit(ctx context.Context, tx *store.Tx, a AuditRecord, by Operator) error {
	if by.Actor == "" {
		by.Actor = "unknown"
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO argosy_event_audit (at, actor, action, consumer, id, event_key, event_type, reason)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`, store.At(a.Time), clean(by.Actor, 200), a.Action, a.Consumer, a.ID, a.Key, a.Type, clean(by.Reason, 4096))
	if err != nil {
		return fmt.Errorf("write down what was done: %w", err)
	}
	return nil
}

// Audit lists what operators did to the events of a service, oldest first,
// after the record with that Seq; at most 1000.
func Audit(ctx context.Context, db *store.DB, after int64) ([]AuditRecord, error) {
	var records []AuditRecord
	err := db.Read(ctx, func(ctx context.Context, q store.Querier) error {
		records = nil
		rows, err := q.QueryContext(ctx, `SELECT seq, at, actor, action, consumer, id, event_key, event_type, reason
			FROM argosy_event_audit WHERE seq > $1 ORDER BY seq LIMIT 1000`, after)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var a AuditRecord
			var at store.Time
			if err := rows.Scan(&a.Seq, &at, &a.Actor, &a.Action, &a.Consumer, &a.ID, &a.Key, &a.Type, &a.Reason); err != nil {
				return err
			}
			a.Time = at.Time
			records = append(records, a)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("list what operators did to the events of %s: %w", db.Service(), err)
	}
	return records, nil
}

// ReplayConsumer sends a consumer back: it gets again what its topic received
// at from or later, as far as the broker keeps it. Effects that were made are
// not made again, as long as the inbox remembers them, which it does longer
// than the broker keeps events. It returns when that is asked for; whoever
// works on the consumer does it, in seconds. The broker must be able to
// ([broker.Rewinder]).
func ReplayConsumer(ctx context.Context, db *store.DB, consumer string, from time.Time, by Operator) error {
	if from.IsZero() {
		return fault.Invalid("from", "say from when the events are to be replayed")
	}
	err := db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		for part := range partitions {
			_, err := tx.ExecContext(ctx, `INSERT INTO argosy_event_rewinds (consumer, part, start_at) VALUES ($1, $2, $3)
				ON CONFLICT (consumer, part) DO UPDATE SET start_at =
				CASE WHEN excluded.start_at < argosy_event_rewinds.start_at THEN excluded.start_at ELSE argosy_event_rewinds.start_at END`,
				consumer, part, store.At(from))
			if err != nil {
				return err
			}
		}
		tx.AfterCommit(func() { db.Notify(inboxTopic(consumer)) })
		by.Reason = fmt.Sprintf("from %s: %s", from.UTC().Format(time.RFC3339Nano), by.Reason)
		return audit(ctx, tx, AuditRecord{Time: time.Now(), Action: ActionRewind, Consumer: consumer}, by)
	})
	if err != nil {
		return fmt.Errorf("replay the events of %s: %w", consumer, err)
	}
	return nil
}

// errNoConsumer: the service consumes nothing under that name.
var errNoConsumer = fault.New(codes.NotFound, "CONSUMER_NOT_FOUND", "there is no such consumer")
