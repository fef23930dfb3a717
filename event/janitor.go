package event

import (
	"context"
	"fmt"
	"time"

	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/store"
)

const (
	janitorGap   = time.Hour
	janitorBatch = 500
	// inboxMargin is how much longer a consumer remembers an event than the
	// broker keeps it: an event may wait for its commit, and clocks differ.
	inboxMargin = 24 * time.Hour
)

// janitor trims the inbox, and what else is too old, until ctx ends.
func (r *runtime) janitor(ctx context.Context) error {
	for {
		if err := r.trim(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		if !pause(ctx, janitorGap) {
			return nil
		}
	}
}

// trim deletes what need not be remembered, in small transactions.
func (r *runtime) trim(ctx context.Context) error {
	now := r.setup.Now()
	if age := r.inboxMaxAge(); age > 0 {
		if err := r.trimInbox(ctx, now.Add(-age)); err != nil {
			return fmt.Errorf("trim the inbox: %w", err)
		}
	}
	if age := r.settings.DeadLetterMaxAge; age > 0 {
		if err := r.trimLetters(ctx, now.Add(-age)); err != nil {
			return fmt.Errorf("trim the dead letters: %w", err)
		}
	}
	return r.trimReplicas(ctx)
}

// inboxMaxAge returns how long an event is remembered: as the setting says, and
// longer than the broker can deliver it again. Zero: forever, as the broker.
func (r *runtime) inboxMaxAge() time.Duration {
	age := r.settings.InboxMaxAge
	k, ok := r.setup.Broker().(broker.Keeper)
	if !ok {
		return age
	}
	kept := k.MaxAge()
	if kept == 0 {
		return 0
	}
	return max(age, kept+inboxMargin)
}

func (r *runtime) trimInbox(ctx context.Context, before time.Time) error {
	for ctx.Err() == nil {
		old, err := r.any(ctx, "SELECT COUNT(*) FROM (SELECT 1 FROM argosy_inbox WHERE at < $1 LIMIT 1) AS old", before)
		if err != nil || !old {
			return err
		}
		err = r.db.Do(store.RowByRow(ctx), func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.ExecContext(ctx, `DELETE FROM argosy_inbox WHERE (consumer, id) IN
				(SELECT consumer, id FROM argosy_inbox WHERE at < $1 ORDER BY at LIMIT $2)`,
				store.At(before), janitorBatch)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// trimLetters discards dead letters that nobody asked for in time.
func (r *runtime) trimLetters(ctx context.Context, before time.Time) error {
	for ctx.Err() == nil {
		old, err := r.any(ctx, "SELECT COUNT(*) FROM (SELECT 1 FROM argosy_dead_letters WHERE at < $1 LIMIT 1) AS old", before)
		if err != nil || !old {
			return err
		}
		by := Operator{Actor: "argosy", Reason: "older than DeadLetterMaxAge"}
		if _, err := operate(ctx, r.db, DeadLetterFilter{before: before, Limit: janitorBatch}, by, ActionExpire, discard); err != nil {
			return err
		}
	}
	return nil
}

// any looks with a reader, so that a start with nothing to trim writes nothing.
func (r *runtime) any(ctx context.Context, query string, before time.Time) (bool, error) {
	var n int
	err := r.db.Read(ctx, func(ctx context.Context, q store.Querier) error {
		return q.QueryRowContext(ctx, query, store.At(before)).Scan(&n)
	})
	return n > 0, err
}

// trimReplicas forgets replicas that did not take their leave.
func (r *runtime) trimReplicas(ctx context.Context) error {
	if r.alone() {
		return nil
	}
	err := r.db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM argosy_event_replicas WHERE expires < $1", store.At(r.setup.Now().Add(-janitorGap)))
		return err
	})
	if err != nil {
		return fmt.Errorf("forget replicas that are gone: %w", err)
	}
	return nil
}
