package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/store/internal/migration"
)

// prepare sees to it that the service's schema is there.
func (e *engine) prepare(ctx context.Context) error {
	return e.alone(ctx, func(conn *stdlib.Conn) error {
		var there bool
		pg := conn.Conn()
		err := pg.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)", e.schema).Scan(&there)
		if err == nil && !there {
			_, err = pg.Exec(ctx, "CREATE SCHEMA "+pgx.Identifier{e.schema}.Sanitize())
		}
		if err != nil {
			return fmt.Errorf("make the schema %s: %w", e.schema, err)
		}
		return nil
	})
}

// Migrate applies a set while nobody else migrates the schema.
func (e *engine) Migrate(ctx context.Context, set string, files fs.FS) error {
	if err := e.enter(); err != nil {
		return err
	}
	defer e.running.Done()
	return e.alone(ctx, func(conn *stdlib.Conn) (err error) {
		db := sql.OpenDB(borrowed{conn})
		db.SetMaxOpenConns(1)
		defer func() { err = errors.Join(err, db.Close()) }()
		return migration.Up(ctx, db, store.Postgres, set, files)
	})
}

// alone runs fn on a connection that holds the schema's advisory lock. The
// server lets go of it when the connection ends, however it ends.
//
// Whoever waits for the lock asks for it now and then: a query that waited
// would hold a snapshot, for which a CREATE INDEX CONCURRENTLY of the holder waits.
func (e *engine) alone(ctx context.Context, fn func(*stdlib.Conn) error) (err error) {
	conn, err := e.acquire(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	key := "argosy migrate " + e.schema
	for {
		var got bool
		if err := conn.Conn().QueryRow(ctx, "SELECT pg_try_advisory_lock(hashtextextended($1, 0))", key).Scan(&got); err != nil {
			return fmt.Errorf("lock the schema %s: %w", e.schema, err)
		}
		if got {
			break
		}
		timer := time.NewTimer(20*time.Millisecond + rand.N(20*time.Millisecond))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("lock the schema %s, which another process migrates: %w", e.schema, ctx.Err())
		}
	}
	defer func() { // also when fn panicked
		unlock, cancel := context.WithTimeout(context.WithoutCancel(ctx), ownTimeout)
		defer cancel()
		if _, uerr := conn.Conn().Exec(unlock, "SELECT pg_advisory_unlock_all()"); uerr != nil {
			err = errors.Join(err, fmt.Errorf("unlock the schema %s: %w", e.schema, uerr), conn.Conn().Close(unlock))
		}
	}()
	return fn(conn)
}

// borrowed lends database/sql a connection that it does not close.
type borrowed struct{ conn *stdlib.Conn }

func (b borrowed) Connect(context.Context) (driver.Conn, error) { return lent{b.conn}, nil }
func (b borrowed) Driver() driver.Driver                        { return facadeDriver{} }

type lent struct{ *stdlib.Conn }

func (lent) Close() error { return nil }
