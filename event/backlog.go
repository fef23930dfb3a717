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
	there, err := store.HasTable(ctx, q, "argosy_outbox")
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
