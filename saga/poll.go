package saga

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/argosy-go/argosy/store"
)

// poll is the worker that claims runs: those that are due, and those whose
// holder is gone. It sleeps until the next one is due, and looks at least every
// pollEvery, since other instances store runs too.
func (e *engine) poll(ctx context.Context) error {
	defer e.db.Listen(topicDue, e.rumour)()
	defer e.db.Listen(topicOver, e.publishAll)()
	var searched, swept time.Time
	for {
		e.target.Store(math.MaxInt64) // until the next due time is known, every new one wakes us
		wait, err := e.claimDue(ctx)
		if err == nil && e.now().Sub(searched) >= e.settings.SagaLease/3 {
			searched = e.now()
			err = e.claimLost(ctx)
		}
		if err == nil && e.now().Sub(swept) >= sweepEvery {
			swept = e.now()
			err = e.sweep(ctx)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("claim sagas: %w", err)
		}
		if e.shared() {
			wait += rand.N(min(wait/4, spread) + 1)
		}
		e.target.Store(e.now().Add(wait).UnixMicro())
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-e.wakeup:
		}
		timer.Stop()
	}
}

// claimDue claims the runs that are due and returns how long until the next is.
func (e *engine) claimDue(ctx context.Context) (time.Duration, error) {
	known, args := e.known(1)
	for {
		room := e.room()
		if room <= 0 {
			return pollEvery, nil
		}
		var next sql.NullInt64
		err := e.db.Read(ctx, func(ctx context.Context, q store.Querier) error {
			return q.QueryRowContext(ctx, "SELECT MIN(due) FROM argosy_saga_runs WHERE due IS NOT NULL AND "+known, args...).Scan(&next)
		})
		if err != nil {
			return 0, err
		}
		now := e.now().UnixMicro()
		switch {
		case !next.Valid:
			return pollEvery, nil
		case next.Int64 > now:
			if left := next.Int64 - now; left < pollEvery.Microseconds() {
				return time.Duration(left)*time.Microsecond + time.Microsecond, nil
			}
			return pollEvery, nil
		}
		if _, err := e.claim(ctx, "due <= $3", false, room, now); err != nil {
			return 0, err
		}
	}
}

// claimLost claims the runs whose holder shows no sign of life, and those of
// this instance that it has lost track of. What was under way there may have
// had its effect.
func (e *engine) claimLost(ctx context.Context) error {
	now := e.now()
	const orphaned = "holder <> '' AND holder <> $1 AND holder NOT IN (SELECT holder FROM argosy_saga_holders WHERE until > "
	var orphans bool
	var strays []key
	err := e.db.Read(ctx, func(ctx context.Context, q store.Querier) (err error) {
		err = q.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM argosy_saga_runs WHERE "+orphaned+"$2))", e.instance, store.At(now)).Scan(&orphans)
		if err != nil {
			return err
		}
		strays, err = e.strays(ctx, q, now)
		return err
	})
	if err != nil {
		return err
	}
	for room := e.room(); orphans && room > 0; room = e.room() {
		n, err := e.claim(ctx, orphaned+"$3)", true, room, now.UnixMicro())
		if err != nil {
			return err
		}
		orphans = n > 0
	}
	for _, k := range strays {
		if _, err := e.claim(ctx, "holder = $3 AND saga = $4 AND id = $5", true, 1, e.instance, k.saga, k.id); err != nil {
			return err
		}
	}
	return nil
}

// strays returns runs that name this instance while it does not know of them:
// a step ended its goroutine, or the store failed between commit and answer.
func (e *engine) strays(ctx context.Context, q store.Querier, now time.Time) ([]key, error) {
	rows, err := q.QueryContext(ctx, "SELECT saga, id FROM argosy_saga_runs WHERE holder = $1 AND updated < $2",
		e.instance, store.At(now.Add(-e.settings.SagaLease/3)))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var keys []key
	for rows.Next() {
		var k key
		if err := rows.Scan(&k.saga, &k.id); err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.DeleteFunc(keys, func(k key) bool {
		_, known := e.mine[k]
		return known || e.sagas[k.saga] == nil
	}), rows.Err()
}

// claim takes up to limit runs that match the condition, raises their epoch,
// queues them, and returns how many there were. In the condition $1 is the
// instance, $2 the time, and the arguments begin at $3.
func (e *engine) claim(ctx context.Context, where string, doubt bool, limit int, args ...any) (int, error) {
	set, lock := "", ""
	if doubt {
		set = ", doubt = 1, crashes = crashes + 1"
	}
	if e.shared() {
		lock = " FOR UPDATE SKIP LOCKED" // two that claim at once take different runs
	}
	known, names := e.known(3 + len(args))
	args = append(append([]any{e.instance, store.At(e.now())}, args...), names...)
	query := `UPDATE argosy_saga_runs SET holder = $1, updated = $2, epoch = epoch + 1, due = NULL` + set + `
		WHERE (saga, id) IN (SELECT saga, id FROM argosy_saga_runs WHERE ` + where + ` AND ` + known + `
		ORDER BY due LIMIT ` + fmt.Sprint(min(limit, claimBatch)) + lock + `) RETURNING ` + columns
	var runs []*record
	// The statement compares each row that it changes; a snapshot would put it
	// in conflict with every step that is stored meanwhile.
	err := e.db.Do(store.RowByRow(ctx), func(ctx context.Context, tx *store.Tx) (err error) {
		runs, err = collect(tx.QueryContext(ctx, query, args...))
		return err
	})
	if err != nil {
		return 0, err
	}
	if doubt && len(runs) > 0 {
		e.s.Log().Info("took over sagas whose worker is gone", "runs", len(runs))
		for _, r := range runs {
			step, _, _ := strings.Cut(r.step, "/")
			e.meters.crashes.WithLabelValues(r.saga, step).Inc()
		}
	}
	e.accept(runs...)
	return len(runs), nil
}

// reload reads the row of a run again. It returns nil when the run is no
// longer this worker's.
func (e *engine) reload(r *record) (*record, error) {
	var now *record
	err := e.db.Read(context.WithoutCancel(r.ctx), func(ctx context.Context, q store.Querier) (err error) {
		now, err = load(ctx, q, r.key)
		return err
	})
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, err
	case now.epoch != r.epoch:
		return nil, nil
	}
	now.ctx = r.ctx
	now.original, err = e.sagas[r.saga].decode(now.state)
	return now, err
}
