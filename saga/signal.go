package saga

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/argosy-go/argosy/store"
)

// Signals are rows. A signal is stored first and then wakes the run if it waits
// for it; a run that begins to wait stores that first and then looks for a
// signal. Both touch the run's row, so that they cannot miss each other.

// putSignal stores a signal and wakes the run that waits for it.
func putSignal(ctx context.Context, tx *store.Tx, k key, name string, payload proto.Message, now time.Time) error {
	packed := &anypb.Any{}
	if payload != nil {
		if err := packed.MarshalFrom(payload); err != nil {
			return fmt.Errorf("encode the signal: %w", err)
		}
	}
	b, err := proto.Marshal(packed)
	if err != nil {
		return fmt.Errorf("encode the signal: %w", err)
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO argosy_saga_signals (saga, id, n, name, payload, at)
		VALUES ($1, $2, (SELECT COALESCE(MAX(n), 0) + 1 FROM argosy_saga_signals WHERE saga = $1 AND id = $2), $3, $4, $5)`,
		k.saga, k.id, name, blob(b), store.At(now))
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE argosy_saga_runs SET due = CASE WHEN due IS NOT NULL AND waits = $1 AND due > $2 THEN $2 ELSE due END
		WHERE saga = $3 AND id = $4`, name, store.At(now), k.saga, k.id)
	return err
}

// seekSignal makes the run due at once when the signal that it begins to wait
// for is there already. The run's row has been written before.
func (r *record) seekSignal(ctx context.Context, q store.Querier) error {
	_, n, err := takeSignal(ctx, q, r.key, r.waits)
	if err != nil || n == 0 {
		return err
	}
	r.due.Int64 = min(r.due.Int64, r.updated)
	_, err = q.ExecContext(ctx, "UPDATE argosy_saga_runs SET due = $1 WHERE saga = $2 AND id = $3", r.due, r.saga, r.id)
	return err
}

// takeSignal returns the oldest signal of the name and its number, 0 for none.
func takeSignal(ctx context.Context, q store.Querier, k key, name string) (Signal, int64, error) {
	var n int64
	var b []byte
	var at store.Time
	err := q.QueryRowContext(ctx, `SELECT n, payload, at FROM argosy_saga_signals WHERE saga = $1 AND id = $2 AND name = $3 ORDER BY n LIMIT 1`,
		k.saga, k.id, name).Scan(&n, &b, &at)
	if errors.Is(err, sql.ErrNoRows) {
		return Signal{}, 0, nil
	}
	if err != nil {
		return Signal{}, 0, err
	}
	sig := Signal{Name: name, Time: at.Time, payload: &anypb.Any{}}
	if err := proto.Unmarshal(b, sig.payload); err != nil {
		return Signal{}, 0, fmt.Errorf("decode the signal %s: %w", name, err)
	}
	return sig, n, nil
}

// dropSignal removes a signal that a step has taken.
func dropSignal(ctx context.Context, q store.Querier, k key, n int64) error {
	_, err := q.ExecContext(ctx, "DELETE FROM argosy_saga_signals WHERE saga = $1 AND id = $2 AND n = $3", k.saga, k.id, n)
	return err
}
