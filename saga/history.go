package saga

import (
	"context"
	"fmt"

	"github.com/argosy-go/argosy/store"
)

// historyBound is how many entries of a run are kept: the last ones.
const historyBound = 64

// remember writes the n-th history entry of a run over the one that falls out.
func remember(ctx context.Context, q store.Querier, k key, n, at int64, ev Event) error {
	_, err := q.ExecContext(ctx, `INSERT INTO argosy_saga_history (saga, id, slot, n, at, kind, step, detail)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (saga, id, slot) DO UPDATE SET n = excluded.n, at = excluded.at, kind = excluded.kind, step = excluded.step, detail = excluded.detail`,
		k.saga, k.id, n%historyBound, n, at, ev.Kind, ev.Step, clip(ev.Detail, 1000))
	return err
}

// history returns the entries of a run, the oldest first.
func history(ctx context.Context, q store.Querier, k key) ([]Event, error) {
	rows, err := q.QueryContext(ctx, "SELECT at, kind, step, detail FROM argosy_saga_history WHERE saga = $1 AND id = $2 ORDER BY n", k.saga, k.id)
	if err != nil {
		return nil, fmt.Errorf("read the history of saga %s %s: %w", k.saga, k.id, err)
	}
	defer rows.Close()
	var out []Event
	for rows.Next() {
		var ev Event
		var at store.Time
		if err := rows.Scan(&at, &ev.Kind, &ev.Step, &ev.Detail); err != nil {
			return nil, err
		}
		ev.Time = at.Time
		out = append(out, ev)
	}
	return out, rows.Err()
}
