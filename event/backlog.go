package event

import (
	"context"
	"fmt"

	"github.com/argosy-go/argosy/store"
)

// Backlog counts what a service has not done yet: events that wait for the
// broker, events that wait for another attempt or behind one, and dead letters.
// A database without the tables has no backlog. q may be a plain reader.
func Backlog(ctx context.Context, q store.Querier) (outbox, pending, dead int, err error) {
	there, err := installed(ctx, q)
	if err != nil || !there {
		return 0, 0, 0, err
	}
	err = q.QueryRowContext(ctx, `SELECT (SELECT COUNT(*) FROM argosy_outbox),
		(SELECT COUNT(*) FROM argosy_inbox_pending),
		(SELECT COUNT(*) FROM argosy_dead_letters)`).Scan(&outbox, &pending, &dead)
	if err != nil {
		return 0, 0, 0, fmt.Errorf("count the events that wait: %w", err)
	}
	return outbox, pending, dead, nil
}

// installed reports whether the tables are there. A statement that fails would
// poison the transaction of q, so it asks the catalogue, and first which one
// there is: LIKE minds case in Postgres and not in SQLite.
func installed(ctx context.Context, q store.Querier) (bool, error) {
	var sqlite bool
	if err := q.QueryRowContext(ctx, "SELECT 'a' LIKE 'A'").Scan(&sqlite); err != nil {
		return false, fmt.Errorf("recognise the store: %w", err)
	}
	query := "SELECT COUNT(*) FROM information_schema.tables WHERE table_name = $1 AND table_schema = ANY (current_schemas(false))"
	if sqlite {
		query = "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = $1"
	}
	var n int
	if err := q.QueryRowContext(ctx, query, "argosy_outbox").Scan(&n); err != nil {
		return false, fmt.Errorf("look for the tables of events: %w", err)
	}
	return n > 0, nil
}
