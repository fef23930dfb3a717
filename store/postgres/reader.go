package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/argosy-go/argosy/store"
)

// Reader reads the schema of a service that other processes use: for audits,
// tools and tests. It writes nothing and makes nothing. Safe for concurrent use.
type Reader struct{ engine *engine }

// OpenReader opens the schema of a service to read, with one connection. The
// URL is one that [Opener.Open] takes. It fails when there is no such schema.
func OpenReader(ctx context.Context, url, service string) (*Reader, error) {
	e, err := Opener{MaxConns: 1}.connect(ctx, store.OpenOptions{Service: service, URL: url})
	if err != nil {
		return nil, err
	}
	r := &Reader{e}
	err = r.Read(ctx, func(ctx context.Context, q store.Querier) error {
		var there bool
		err := q.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)", e.schema).Scan(&there)
		if err == nil && !there {
			err = fmt.Errorf("open a store to read: the database has no schema %s", e.schema)
		}
		return err
	})
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Read runs fn on a snapshot of what had been committed when Read was called.
func (r *Reader) Read(ctx context.Context, fn func(ctx context.Context, q store.Querier) error) error {
	return r.engine.Read(ctx, func(q store.Querier) error { return fn(ctx, q) })
}

// Close waits for the reads and closes the connection. Closing again does nothing.
func (r *Reader) Close() error { return r.engine.Close() }
