package saga

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/argosy-go/argosy/store"
)

// A run says which version of the list worked on it last. An instance claims
// runs of the versions that there were when it started: while a new program is
// rolled out, the old one leaves the runs of the new one alone instead of
// parking them.

// shared reports whether several instances may use the store at once.
func (e *engine) shared() bool { return e.db.Dialect() == store.Postgres }

// announce stores the versions of this instance and learns of all others.
func (e *engine) announce(ctx context.Context, tx *store.Tx) error {
	e.versions = []any{""} // runs from before there were versions
	for name, d := range e.sagas {
		_, err := tx.ExecContext(ctx, "INSERT INTO argosy_saga_versions (saga, version, at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
			name, d.version, store.At(e.now()))
		if err != nil {
			return err
		}
	}
	rows, err := tx.QueryContext(ctx, "SELECT DISTINCT version FROM argosy_saga_versions")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var v string
		if err := rows.Scan(&v); err != nil {
			return err
		}
		e.versions = append(e.versions, v)
	}
	return rows.Err()
}

// known returns the condition for runs that this instance may claim, with
// parameters from $first on.
func (e *engine) known(first int) (string, []any) {
	names := make([]any, 0, len(e.sagas))
	for name := range e.sagas {
		names = append(names, name)
	}
	return "saga IN (" + marks(first, len(names)) + ") AND version IN (" + marks(first+len(names), len(e.versions)) + ")",
		append(names, e.versions...)
}

// marks returns n placeholders from $first on.
func marks(first, n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("$%d", first+i)
	}
	return strings.Join(list, ", ")
}

// census counts the runs in the store, and raises the alarm for those that
// nobody claims: no program knows their saga or their version, or all that do
// are overloaded.
func (e *engine) census(ctx context.Context) error {
	return e.db.Read(ctx, func(ctx context.Context, q store.Querier) error {
		if err := e.meters.census(ctx, q); err != nil {
			return err
		}
		old := store.At(e.now().Add(-e.settings.SagaLease))
		var left int
		if err := q.QueryRowContext(ctx, "SELECT COUNT(*) FROM argosy_saga_runs WHERE due < $1", old).Scan(&left); err != nil {
			return err
		}
		e.meters.left.Set(float64(left))
		if left == 0 || e.now().Sub(e.warned) < time.Minute {
			return nil
		}
		e.warned = e.now()
		var k key
		err := q.QueryRowContext(ctx, "SELECT saga, id FROM argosy_saga_runs WHERE due < $1 ORDER BY due LIMIT 1", old).Scan(&k.saga, &k.id)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		e.s.Log().Error("runs of sagas have been due for long, and nobody claims them: a program that knows them must run",
			"runs", left, "saga", k.saga, "run", k.id, "known", e.sagas[k.saga] != nil)
		return nil
	})
}
