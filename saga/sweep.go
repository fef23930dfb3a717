package saga

import (
	"context"
	"fmt"
	"time"

	"github.com/argosy-go/argosy/store"
)

// Retention is how long a run that has completed or was compensated is kept
// unless the setting saga-retention of the service says otherwise, with its history and the signals that nobody took. Until then its id cannot
// be used again. Parked runs are kept until they are resumed.
const Retention = 30 * 24 * time.Hour

const (
	sweepEvery = time.Hour
	sweepBatch = 500
)

// sweep removes the runs that have ended long ago, in small transactions. It
// looks for them with a reader, which keeps no writer waiting.
func (e *engine) sweep(ctx context.Context) error {
	old := store.At(e.now().Add(-e.settings.SagaRetention))
	for {
		var keys []key
		err := e.db.Read(ctx, func(ctx context.Context, q store.Querier) error {
			rows, err := q.QueryContext(ctx, `SELECT saga, id FROM argosy_saga_runs
				WHERE status IN ('completed', 'compensated') AND ended < $1 LIMIT $2`, old, sweepBatch)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var k key
				if err := rows.Scan(&k.saga, &k.id); err != nil {
					return err
				}
				keys = append(keys, k)
			}
			return rows.Err()
		})
		if err != nil {
			return fmt.Errorf("look for old sagas: %w", err)
		}
		if len(keys) == 0 {
			break
		}
		err = e.db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
			for _, k := range keys {
				for _, table := range []string{"runs", "signals", "history"} {
					if _, err := tx.ExecContext(ctx, "DELETE FROM argosy_saga_"+table+" WHERE saga = $1 AND id = $2", k.saga, k.id); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("remove old sagas: %w", err)
		}
	}
	return e.db.Do(ctx, func(ctx context.Context, tx *store.Tx) error { // signals to runs that were never started
		_, err := tx.ExecContext(ctx, `DELETE FROM argosy_saga_signals WHERE at < $1 AND NOT EXISTS
			(SELECT 1 FROM argosy_saga_runs r WHERE r.saga = argosy_saga_signals.saga AND r.id = argosy_saga_signals.id)`, old)
		return err
	})
}
