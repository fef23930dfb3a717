package store

import (
	"context"
	"fmt"
)

// HasTable reports whether there is a table of that name. A statement that
// fails would poison the transaction of q, so it asks the catalogue, and first
// which one there is: LIKE minds case in Postgres and not in SQLite.
func HasTable(ctx context.Context, q Querier, name string) (bool, error) {
	var sqlite bool
	if err := q.QueryRowContext(ctx, "SELECT 'a' LIKE 'A'").Scan(&sqlite); err != nil {
		return false, fmt.Errorf("recognise the store: %w", err)
	}
	query := "SELECT COUNT(*) FROM information_schema.tables WHERE table_name = $1 AND table_schema = ANY (current_schemas(false))"
	if sqlite {
		query = "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = $1"
	}
	var n int
	if err := q.QueryRowContext(ctx, query, name).Scan(&n); err != nil {
		return false, fmt.Errorf("look for the table %s: %w", name, err)
	}
	return n > 0, nil
}
