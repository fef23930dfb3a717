package event

import (
	"context"
	"fmt"
	"time"

	"github.com/argosy-go/argosy/store"
)

const (
	// keepInbox is how long a consumer remembers an event: longer than the 7
	// days for which a broker can replay it.
	keepInbox    = 9 * 24 * time.Hour
	janitorGap   = time.Hour
	janitorBatch = 500
)

// janitor trims the inbox until ctx ends.
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

// trim deletes what the inbox need not remember, in small transactions, and
// replicas that are long gone.
func (r *runtime) trim(ctx context.Context) error {
	if err := r.trimReplicas(ctx); err != nil {
		return err
	}
	for ctx.Err() == nil {
		old, err := r.anyOld(ctx)
		if err != nil || !old {
			return err
		}
		err = r.db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.ExecContext(ctx, `DELETE FROM argosy_inbox WHERE (consumer, id) IN
				(SELECT consumer, id FROM argosy_inbox WHERE at < $1 ORDER BY at LIMIT $2)`,
				store.At(r.horizon()), janitorBatch)
			return err
		})
		if err != nil {
			return fmt.Errorf("trim the inbox: %w", err)
		}
	}
	return nil
}

func (r *runtime) horizon() time.Time { return r.setup.Now().Add(-keepInbox) }

// anyOld looks with a reader, so that a start with nothing to trim writes nothing.
func (r *runtime) anyOld(ctx context.Context) (bool, error) {
	var n int
	err := r.db.Read(ctx, func(ctx context.Context, q store.Querier) error {
		return q.QueryRowContext(ctx, "SELECT COUNT(*) FROM (SELECT 1 FROM argosy_inbox WHERE at < $1 LIMIT 1) AS old",
			store.At(r.horizon())).Scan(&n)
	})
	if err != nil {
		return false, fmt.Errorf("look for what the inbox need not remember: %w", err)
	}
	return n > 0, nil
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
