package store

import (
	"context"
	"database/sql"
	"io/fs"
	"log/slog"
	"time"
)

// Querier is database/sql's four methods, so that generated code (sqlc) and
// hand-written SQL work on a transaction and on a reader alike.
type Querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}

// Conn is one open transaction of an [Engine].
//
//  1. Queries are written for the portable subset: $1 placeholders in any
//     order, RETURNING, BIGINT times and money.
//  2. The first statement that fails poisons the Conn: Failed returns its
//     error from then on, every later statement is refused with it, and the
//     transaction cannot commit. An error met while reading rows counts.
//  3. BEGIN, COMMIT, END, ROLLBACK, SAVEPOINT, RELEASE, PRAGMA, ATTACH, DETACH
//     and VACUUM are refused, wherever they hide in a query.
//  4. Cancelling the context given to a statement stops only that statement,
//     poisons only this Conn, and harms no sibling that shares the commit.
//  5. It is used by one goroutine at a time.
type Conn interface {
	Querier
	// Try runs fn inside a savepoint. When fn returns an error or panics, what
	// it wrote is rolled back and a poison that it caused is cured.
	Try(ctx context.Context, fn func() error) error
	// Failed returns the error that poisoned the transaction, or nil.
	Failed() error
}

// Dialect names the SQL that an engine speaks, for migrations that need an
// override ("0003_name.postgres.sql").
type Dialect string

// The dialects that there are.
const (
	SQLite   Dialect = "sqlite"
	Postgres Dialect = "postgres"
)

// Engine is an open database of one service: the contract of a store adapter.
// Package storetest holds the suite that every adapter passes.
//
//  1. Write runs fn in one transaction, serializable unless the options say
//     otherwise, and returns nil only after
//     the commit is on disk. An error from fn, a poisoned Conn or a panic rolls
//     back everything fn wrote and nothing else. fn's error is returned as it
//     is; a panic or Goexit reappears at the caller.
//  2. fn may be run more than once; only the last run's writes are kept.
//  3. Write may run functions of many callers in one commit; to each caller it
//     is as if it were alone.
//  4. When it cannot be known whether the commit happened, Write returns an
//     error that is [ErrUnknown]. After a failed fsync the engine refuses
//     further writes until it is opened again.
//  5. Read runs fn on a snapshot that holds every commit acknowledged before
//     Read was called. Statements that write fail.
//  6. All methods are safe for concurrent use. Close waits for what runs.
type Engine interface {
	Write(ctx context.Context, fn func(Conn) error) error
	Read(ctx context.Context, fn func(Querier) error) error
	// Migrate brings the named set of migrations up to date. Sets are
	// independent of each other; a set is applied once, also when several
	// processes start together. Files are named NNNN_name.sql and carry goose
	// annotations; NNNN_name.<dialect>.sql replaces the file without dialect.
	Migrate(ctx context.Context, set string, files fs.FS) error
	Dialect() Dialect
	Close() error
}

// Opener opens the database of a service; an adapter hands one to the engine
// set of a program.
type Opener interface {
	Open(ctx context.Context, o OpenOptions) (Engine, error)
}

// Isolation says how far the transactions of a database keep out of each
// other's way. See [DB.Isolation].
type Isolation int

// The levels that there are, of which the first is the default.
const (
	// Serializable: transactions have the effect of running one after the other.
	Serializable Isolation = iota
	// RepeatableRead: each transaction sees one snapshot, and fails to update
	// a row that has changed since. Two transactions may each act on what the
	// other is about to change.
	RepeatableRead
	// ReadCommitted: each statement sees what has been committed before it. A
	// row that was read may be another's a statement later.
	ReadCommitted
)

// OpenOptions is what an [Opener] needs to know.
type OpenOptions struct {
	// Service is the name of the service that owns the database.
	Service string
	// URL is the setting that chose the adapter, as in "sqlite:" or
	// "postgres://host/db". May be empty.
	URL string
	// Dir is the data directory of the fleet, for stores that are files.
	Dir string
	// Log receives what an operator should know. Nil: discarded.
	Log *slog.Logger
	// Isolation is the level of transactions that write. A store may do better.
	Isolation Isolation
	// IdleLimit is how long a transaction function may go without running a
	// statement, while others wait for the store, before it is revoked. Zero: 250 ms.
	IdleLimit time.Duration
}
