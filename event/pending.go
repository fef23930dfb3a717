package event

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/argosy-go/argosy/store"
)

// recover takes up the keys that had pending events when their process ended.
func (s *session) recover() error {
	return s.heads("1 = 1", s.wait)
}

// heads calls f for each key that has pending events which match, with the
// time until its first one is due.
func (s *session) heads(match string, f func(key string, d time.Duration)) error {
	return s.db.Read(s.ctx, func(ctx context.Context, q store.Querier) error {
		rows, err := q.QueryContext(ctx, `SELECT event_key, due FROM argosy_inbox_pending WHERE seq IN
			(SELECT MIN(seq) FROM argosy_inbox_pending
			WHERE consumer = $1 AND part BETWEEN $2 AND $3 AND `+match+` GROUP BY event_key)`, s.durable, s.span.first, s.span.last)
		if err != nil {
			return fmt.Errorf("read the pending events: %w", err)
		}
		defer rows.Close()
		for rows.Next() {
			var key string
			var due store.Time
			if err := rows.Scan(&key, &due); err != nil {
				return fmt.Errorf("read the pending events: %w", err)
			}
			f(key, max(0, due.Sub(s.setup.Now())))
		}
		return rows.Err()
	})
}

const insertPending = `INSERT INTO argosy_inbox_pending
(consumer, id, topic, part, event_key, attempts, due, error, header, body, at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (consumer, id) DO NOTHING`

// park keeps a delivery in the inbox: with a cause its first attempt failed and
// the key waits, without one it queues behind the others of its key.
func (s *session) park(in incoming, cause error) error {
	now := s.setup.Now()
	delay, attempts, text := time.Duration(0), 0, ""
	if cause != nil {
		delay, attempts, text = s.backoff.after(1), 1, explain(cause)
	}
	header, err := json.Marshal(in.message.Header)
	if err != nil {
		return fmt.Errorf("keep the headers of event %s: %w", in.meta.ID, err)
	}
	err = s.db.Do(store.RowByRow(s.detached()), func(ctx context.Context, tx *store.Tx) error {
		if err := s.hold.check(ctx, tx); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, insertPending, s.durable, in.id(), in.message.Topic, in.message.Partition,
			in.meta.Key, attempts, store.At(now.Add(delay)), text, string(header), body(in), store.At(now))
		return err
	})
	if err == nil && cause != nil {
		s.wait(in.meta.Key, delay)
	}
	return err
}

// failed decides what becomes of an event after a failed attempt.
func (s *session) failed(in incoming, cause error) error {
	attempt := in.attempts + 1
	log := s.setup.Log().With("consumer", s.durable, "event", in.meta.ID, "key", in.meta.Key, "attempt", attempt, "error", cause)
	if p := (*panicked)(nil); errors.As(cause, &p) && p.stack != nil {
		log = log.With("stack", string(p.stack))
	}
	if attempt >= s.attempts {
		return s.bury(in, cause)
	}
	s.count(resultFailed)
	log.Warn("an event was not handled and will be tried again")
	if in.seq == 0 {
		return s.park(in, cause)
	}
	delay := s.backoff.after(attempt)
	err := s.db.Do(store.RowByRow(s.detached()), func(ctx context.Context, tx *store.Tx) error {
		if err := s.hold.check(ctx, tx); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "UPDATE argosy_inbox_pending SET attempts = $1, due = $2, error = $3 WHERE seq = $4",
			attempt, store.At(s.setup.Now().Add(delay)), explain(cause), in.seq)
		return err
	})
	if err == nil {
		s.wait(in.meta.Key, delay)
	}
	return err
}

// retry tries the pending events of a key, in order, until one fails.
func (s *session) retry(key string) {
	for s.ctx.Err() == nil {
		in, found, err := s.head(key)
		if err == nil && !found {
			s.goOn(key)
			return
		}
		again := false
		if err == nil {
			again, err = s.settlePending(in)
		}
		switch {
		case lost(err):
			s.cancel(err)
			return
		case err != nil:
			s.setup.Log().Error("a pending event can be neither handled nor kept", "consumer", s.durable, "key", key, "error", err)
			s.wait(key, fetchMost)
			return
		case !again:
			return
		}
	}
}

// settlePending makes the fate of a pending event durable and reports whether
// the key can go on with its next one.
func (s *session) settlePending(in incoming) (goOn bool, err error) {
	if in.malformed != nil {
		return true, s.bury(in, in.malformed)
	}
	if s.expired(in.meta) {
		s.count(resultExpired)
		return true, s.db.Do(s.detached(), func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(s.hold.check(ctx, tx), s.forgetPending(ctx, tx, in))
		})
	}
	fresh, err := s.attempt(in)
	switch {
	case err == nil:
		s.handled(in, fresh)
		return true, nil
	case lost(err), errors.Is(err, store.ErrUnknown):
		return false, err
	case errors.Is(err, errUndecodable), in.attempts+1 >= s.attempts:
		return true, s.bury(in, err)
	}
	return false, s.failed(in, err)
}

// head reads the first pending event of a key.
func (s *session) head(key string) (in incoming, found bool, err error) {
	var header string
	err = s.db.Read(s.ctx, func(ctx context.Context, q store.Querier) error {
		return q.QueryRowContext(ctx, `SELECT seq, id, topic, part, attempts, header, body FROM argosy_inbox_pending
			WHERE consumer = $1 AND event_key = $2 AND part BETWEEN $3 AND $4 ORDER BY seq LIMIT 1`,
			s.durable, key, s.span.first, s.span.last).
			Scan(&in.seq, &in.message.ID, &in.message.Topic, &in.message.Partition, &in.attempts, &header, &in.message.Body)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return in, false, nil
	}
	if err != nil {
		return in, false, fmt.Errorf("read the pending event of key %q: %w", key, err)
	}
	if err := json.Unmarshal([]byte(header), &in.message.Header); err != nil {
		return in, false, fmt.Errorf("read the headers of pending event %s: %w", in.message.ID, err)
	}
	in.meta, in.malformed = decodeHeader(in.message.Header)
	in.meta.Key = key
	return in, true, nil
}

// forgetPending deletes the row of a pending event.
func (s *session) forgetPending(ctx context.Context, tx *store.Tx, in incoming) error {
	if in.seq == 0 {
		return nil
	}
	_, err := tx.ExecContext(ctx, "DELETE FROM argosy_inbox_pending WHERE seq = $1", in.seq)
	return err
}

// bury makes an event a dead letter and lets its key go on.
func (s *session) bury(in incoming, cause error) error {
	err := s.db.Do(s.detached(), func(ctx context.Context, tx *store.Tx) error {
		if err := s.hold.check(ctx, tx); err != nil {
			return err
		}
		if err := s.forgetPending(ctx, tx, in); err != nil {
			return err
		}
		id := in.id()
		result, err := tx.ExecContext(ctx, insertInbox, s.durable, id, store.At(s.setup.Now()))
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n == 0 {
			return err // dealt with before
		}
		m := in.message
		m.ID = id
		return bury(ctx, tx, letter{consumer: s.durable, message: m, kind: in.meta.Type, key: in.meta.Key,
			attempts: in.attempts + 1, cause: cause, at: s.setup.Now()})
	})
	if err == nil {
		s.count(resultDead)
		s.setup.Log().Error("an event became a dead letter", "consumer", s.durable, "event", in.meta.ID, "key", in.meta.Key, "error", cause)
	}
	return err
}

// detached returns a context for what must be written although the service drains.
func (s *session) detached() context.Context { return context.WithoutCancel(s.ctx) }

// id returns the id under which the consumer remembers the event. A CloudEvent
// that is not Argosy's may have an id that is unique within its source only,
// and what has no id at all is known by its content.
func (in incoming) id() string {
	switch {
	case uuid.Validate(in.meta.ID) == nil:
		return in.meta.ID
	case in.meta.ID != "":
		return in.meta.Source + " " + in.meta.ID
	case in.message.ID != "":
		return in.message.ID
	}
	return contentID(in.message)
}

// body returns the body, never nil: the columns are NOT NULL.
func body(in incoming) []byte {
	if in.message.Body == nil {
		return []byte{}
	}
	return in.message.Body
}

// explain returns an error as text that every store takes.
func explain(err error) string { return clean(err.Error(), 4096) }

// clean returns text that every store takes, of at most that many bytes.
func clean(text string, most int) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "")
	}
	return text
}
