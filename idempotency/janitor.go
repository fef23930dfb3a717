package idempotency

import (
	"context"
	"fmt"
	"time"

	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/store"
)

const (
	// DefaultKeep is how long replies are kept.
	DefaultKeep = 48 * time.Hour
	// MinKeep is the shortest time for which replies are kept.
	MinKeep = 24 * time.Hour

	janitorGap   = 10 * time.Minute
	janitorBatch = 500
)

// Janitor returns a worker that deletes the replies older than keep. Zero:
// [DefaultKeep]; never under [MinKeep]. Their age is told by the clock that
// [Install] was given.
func Janitor(db *store.DB, keep time.Duration) service.Worker {
	if keep == 0 {
		keep = DefaultKeep
	}
	keep = max(keep, MinKeep)
	return service.Worker{Stage: service.Work, Name: "idempotency janitor", Run: func(ctx context.Context) error {
		f := store.Find[flights](db)
		if f == nil {
			return ErrNotInstalled.WithMetadata("service", db.Service())
		}
		tick := time.NewTicker(janitorGap)
		defer tick.Stop()
		for {
			if err := trim(ctx, db, f.now().Add(-keep)); err != nil && ctx.Err() == nil {
				return err
			}
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
	}}
}

// trim deletes the replies given before a time, in small transactions.
func trim(ctx context.Context, db *store.DB, before time.Time) error {
	for ctx.Err() == nil {
		var old int
		err := db.Read(ctx, func(ctx context.Context, q store.Querier) error {
			return q.QueryRowContext(ctx, "SELECT COUNT(*) FROM (SELECT 1 FROM argosy_idempotency WHERE at < $1 LIMIT 1) AS old",
				store.At(before)).Scan(&old)
		})
		if err != nil {
			return fmt.Errorf("look for old replies: %w", err)
		}
		if old == 0 {
			return nil
		}
		err = db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.ExecContext(ctx, `DELETE FROM argosy_idempotency WHERE (caller, method, idem_key) IN
				(SELECT caller, method, idem_key FROM argosy_idempotency WHERE at < $1 ORDER BY at LIMIT $2)`,
				store.At(before), janitorBatch)
			return err
		})
		if err != nil {
			return fmt.Errorf("delete old replies: %w", err)
		}
	}
	return nil
}
