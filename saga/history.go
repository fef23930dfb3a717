package saga

import (
	"context"
	"fmt"

	"github.com/argosy-go/argosy/store"
)

// A run keeps its first and its last entries; those in between fall out.
const (
	historyHead  = 8
	historyBound = 64
)

// slot is where the n-th entry of a run is kept.
func slot(n int64) int64 {
	if n < historyHead {
		return n
	}
	return historyHead + (n-historyHead)%(historyBound-historyHead)
}

// remember writes the n-th history entry of a run over the one that falls out.
func remember(ctx context.Context, q store.Querier, k key, n, at int64, ev Event) error {
	_, err := q.ExecContext(ctx, `INSERT INTO argosy_saga_history (saga, id, slot, n, at, kind, step, detail, attempt, actor, reason)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
		ON CONFLICT (saga, id, slot) DO UPDATE SET n = excluded.n, at = excluded.at, kind = excluded.kind, step = excluded.step,
		detail = excluded.detail, attempt = excluded.attempt, actor = excluded.actor, reason = excluded.reason`,
		k.saga, k.id, slot(n), n, at, ev.Kind, ev.Step, clip(ev.Detail, 1000), ev.Attempt, ev.Actor, ev.Reason)
	return err
}

// history returns the entries of a run, the oldest first, and how many more
// there were.
func (r *record) history(ctx context.Context, q store.Querier) ([]Event, int, error) {
	if r.events == 0 {
		return nil, 0, nil
	}
	k := r.key
	rows, err := q.QueryContext(ctx, "SELECT at, kind, step, detail, attempt, actor, reason FROM argosy_saga_history WHERE saga = $1 AND id = $2 ORDER BY n", k.saga, k.id)
	if err != nil {
		return nil, 0, fmt.Errorf("read the history of saga %s %s: %w", k.saga, k.id, err)
	}
	defer rows.Close()
	var out []Event
	for rows.Next() {
		var ev Event
		var at store.Time
		if err := rows.Scan(&at, &ev.Kind, &ev.Step, &ev.Detail, &ev.Attempt, &ev.Actor, &ev.Reason); err != nil {
			return nil, 0, err
		}
		ev.Time = at.Time
		out = append(out, ev)
	}
	return out, max(int(r.events)-len(out), 0), rows.Err()
}
