package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"testing/fstest"

	"golang.org/x/sync/errgroup"
	_ "modernc.org/sqlite"

	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/store/sqlite"
)

const (
	sqliteService = "writer"
	sqliteCallers = 32
)

var tables = fstest.MapFS{"0001_written.sql": {Data: []byte(`-- +goose Up
	CREATE TABLE written (id TEXT NOT NULL);
	CREATE INDEX written_id ON written (id);
	CREATE TABLE total (n BIGINT NOT NULL);
	INSERT INTO total (n) VALUES (0);
`)}}

// writeSQLite writes an id, unless it is there, and counts it, in one transaction.
func writeSQLite(ctx context.Context, dir string, a *account) error {
	db := store.NewDB(sqliteService)
	db.Migrations("service", tables)
	if err := db.Open(ctx, sqlite.Opener{}, store.OpenOptions{Dir: dir}); err != nil {
		return err
	}
	callers, ctx := errgroup.WithContext(ctx)
	for range sqliteCallers {
		callers.Go(func() error {
			for {
				id := a.next()
				if err := db.Do(ctx, func(ctx context.Context, tx *store.Tx) error { return writeOnce(ctx, tx, id) }); err != nil {
					return fmt.Errorf("write %s: %w", id, err)
				}
				a.done(id)
			}
		})
	}
	return errors.Join(callers.Wait(), db.Close())
}

func writeOnce(ctx context.Context, tx *store.Tx, id string) error {
	res, err := tx.ExecContext(ctx, "INSERT INTO written (id) SELECT $1 WHERE NOT EXISTS (SELECT 1 FROM written WHERE id = $1)", id)
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err != nil || n == 0 {
		return err
	}
	_, err = tx.ExecContext(ctx, "UPDATE total SET n = n + 1")
	return err
}

// listSQLite reads the file by itself, without the store, and has SQLite check it.
func listSQLite(ctx context.Context, dir string, found func(id string)) error {
	db, err := sql.Open("sqlite", "file:"+url.PathEscape(sqlite.Path(dir, sqliteService))+"?mode=rw")
	if err != nil {
		return err
	}
	defer db.Close()
	var state string
	if err := db.QueryRowContext(ctx, "PRAGMA integrity_check").Scan(&state); err != nil || state != "ok" {
		return errors.Join(fmt.Errorf("the database is damaged: %s", state), err)
	}
	var total, counted int
	if err := db.QueryRowContext(ctx, "SELECT n FROM total").Scan(&total); err != nil {
		return err
	}
	rows, err := db.QueryContext(ctx, "SELECT id FROM written")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return err
		}
		found(id)
		counted++
	}
	if counted != total {
		return fmt.Errorf("%d rows, and %d were counted: half a transaction is there", counted, total)
	}
	return rows.Err()
}
