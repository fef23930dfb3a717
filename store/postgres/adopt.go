package postgres

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/argosy-go/argosy/store"
)

// Adopt runs fn with a Tx on a transaction that the service has begun itself,
// on the database that db is in. So a service that was there before can publish
// events and start sagas with what it writes:
//
//	tx, err := pool.Begin(ctx)
//	…
//	committed, err := postgres.Adopt(ctx, db, tx, func(ctx context.Context, tx *store.Tx) error {
//		return event.Publish(ctx, tx, &orderv1.OrderPlaced{Id: id})
//	})
//	…
//	if err := tx.Commit(ctx); err == nil {
//		committed()
//	}
//
// While fn runs, names of tables are looked up in the schema of db's service
// first, and then where they were before. When fn fails, what it did is undone
// and the transaction goes on. The isolation level, conflicts and the commit
// are the caller's; a transaction whose commit does not wait for the disk is
// refused.
//
// Adopt is not safe for concurrent use of one transaction, as the transaction
// is not.
func Adopt(ctx context.Context, db *store.DB, tx pgx.Tx, fn func(ctx context.Context, tx *store.Tx) error) (committed func(), err error) {
	borrowed := sql.OpenDB(through{tx.Conn()})
	defer func() { err = errors.Join(err, borrowed.Close()) }()
	return adopt(ctx, db, borrowed, fn)
}

// AdoptSQL is [Adopt] for a transaction of database/sql, of any driver.
func AdoptSQL(ctx context.Context, db *store.DB, tx *sql.Tx, fn func(ctx context.Context, tx *store.Tx) error) (committed func(), err error) {
	return adopt(ctx, db, tx, fn)
}

func adopt(ctx context.Context, db *store.DB, tx store.Querier, fn func(context.Context, *store.Tx) error) (committed func(), err error) {
	c := &adopted{Querier: tx}
	var d durability
	var path string
	err = c.QueryRowContext(ctx, selectDurability+", current_setting('search_path')").
		Scan(&d.fsync, &d.fullPageWrites, &d.synchronousCommit, &path)
	if err != nil {
		return nil, fmt.Errorf("postgres: adopt a transaction: %w", err)
	}
	if err := d.check(); err != nil {
		return nil, err
	}
	within := pgx.Identifier{Schema(db.Service())}.Sanitize()
	if path != "" {
		within += ", " + path
	}
	if err := c.searchIn(ctx, within); err != nil {
		return nil, err
	}
	committed, err = db.Adopt(ctx, c, fn)
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), ownTimeout) // the transaction may go on without ctx
	defer cancel()
	if back := c.searchIn(undo, path); back != nil {
		return nil, errors.Join(err, back)
	}
	return committed, err
}

// adopted is a transaction of somebody else as a [store.Conn]. The server
// itself refuses everything after a statement that failed, up to the rollback
// to a savepoint.
type adopted struct {
	store.Querier
	err error // what poisoned it
}

// searchIn sets where names of tables are looked up, until the end of the transaction.
func (c *adopted) searchIn(ctx context.Context, path string) error {
	if _, err := c.Querier.ExecContext(ctx, "SELECT set_config('search_path', $1, true)", path); err != nil {
		return fmt.Errorf("postgres: set the search path of a transaction: %w", err)
	}
	return nil
}

// run checks a statement and runs it.
func (c *adopted) run(ctx context.Context, query string, run func() error) error {
	if c.err != nil {
		return c.err
	}
	err := check(query)
	if err == nil {
		err = run()
	}
	if err != nil {
		c.err = explain(ctx, err, false)
	}
	return c.err
}

func (c *adopted) ExecContext(ctx context.Context, query string, args ...any) (res sql.Result, err error) {
	err = c.run(ctx, query, func() (err error) {
		res, err = c.Querier.ExecContext(ctx, query, args...)
		return err
	})
	return res, err
}

func (c *adopted) QueryContext(ctx context.Context, query string, args ...any) (rows *sql.Rows, err error) {
	err = c.run(ctx, query, func() (err error) {
		rows, err = c.Querier.QueryContext(ctx, query, args...)
		return err
	})
	return rows, err
}

func (c *adopted) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if c.err == nil {
		c.err = check(query)
	}
	if c.err != nil { // a Row cannot be made with an error, only by a context that has ended
		ended, cancel := context.WithCancel(ctx)
		cancel()
		return c.Querier.QueryRowContext(ended, query, args...)
	}
	row := c.Querier.QueryRowContext(ctx, query, args...)
	if err := row.Err(); err != nil {
		c.err = explain(ctx, err, false)
	}
	return row
}

func (c *adopted) PrepareContext(ctx context.Context, query string) (stmt *sql.Stmt, err error) {
	err = c.run(ctx, query, func() (err error) {
		stmt, err = c.Querier.PrepareContext(ctx, query)
		return err
	})
	return stmt, err
}

func (c *adopted) Failed() error { return c.err }

// Try runs fn in a savepoint.
func (c *adopted) Try(ctx context.Context, fn func() error) error {
	if c.err != nil {
		return c.err
	}
	if _, err := c.Querier.ExecContext(ctx, "SAVEPOINT argosy"); err != nil {
		c.err = explain(ctx, err, false)
		return c.err
	}
	whole := false
	defer func() { // also when fn panicked
		if whole {
			return
		}
		// A context that has ended must not leave half of it there.
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), ownTimeout)
		defer cancel()
		_, err := c.Querier.ExecContext(undo, "ROLLBACK TO argosy")
		if err == nil {
			_, err = c.Querier.ExecContext(undo, "RELEASE argosy")
		}
		c.err = err
	}()
	err := fn()
	if err == nil || errors.Is(err, context.Canceled) && ctx.Err() == nil { // see QueryRowContext
		err = cmp.Or(c.err, err)
	}
	if err == nil {
		_, err = c.Querier.ExecContext(ctx, "RELEASE argosy")
	}
	whole = err == nil
	return err
}
