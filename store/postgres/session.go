package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/argosy-go/argosy/store"
)

// session is one run of a transaction function: the [store.Conn] that it is
// given. Its statements go through database/sql to a [facade], and from there
// come back here, where they meet the connection. So every error that a
// function could overlook is seen, also one met while it reads rows.
//
// mu is held for the length of every statement.
type session struct {
	conn *sql.Conn    // database/sql's view; its driver connection is a facade
	in   *stdlib.Conn // the connection, for as long as the session lasts

	mu    sync.Mutex
	ended bool
	err   error // what poisoned the session
	// again is an error for which the whole function is run again: no part of
	// it can be cured.
	again error
	rows  *rows // the open rows, at most one
	stmts []driver.Stmt

	lastRows *sql.Rows // handed out last, to be closed if the function forgot
	lastRow  *sql.Row
	unclosed int // rows that database/sql has not closed
}

var _ store.Conn = (*session)(nil)

// newSession binds a session to a connection of the pool.
func newSession(db *sql.DB, in *stdlib.Conn) (*session, error) {
	conn, err := db.Conn(context.Background())
	if err != nil {
		return nil, err
	}
	s := &session{conn: conn, in: in}
	err = conn.Raw(func(dc any) error {
		dc.(*facade).session = s
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// detached hides the cancellation of a context from database/sql, which would
// act on it from another goroutine.
type detached struct{ context.Context }

func (detached) Deadline() (time.Time, bool) { return time.Time{}, false }
func (detached) Done() <-chan struct{}       { return nil }
func (detached) Err() error                  { return nil }

// callerOf returns the context that the caller gave.
func callerOf(ctx context.Context) context.Context {
	if d, ok := ctx.(detached); ok {
		return d.Context
	}
	return ctx
}

func (s *session) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	res, err := s.conn.ExecContext(detached{ctx}, query, args...)
	return res, s.poison(err)
}

func (s *session) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	r, err := s.conn.QueryContext(detached{ctx}, query, args...)
	if err != nil {
		return nil, s.poison(err)
	}
	s.lastRows = r
	return r, nil
}

func (s *session) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	r := s.conn.QueryRowContext(detached{ctx}, query, args...)
	if s.poison(r.Err()) == nil {
		s.lastRow = r
	}
	return r
}

func (s *session) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	stmt, err := s.conn.PrepareContext(detached{ctx}, query)
	return stmt, s.poison(err)
}

// poison makes err the session's, unless it has one, and returns err.
func (s *session) poison(err error) error {
	if err == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fail(err)
}

// fail is poison for those who hold mu.
func (s *session) fail(err error) error {
	if s.ended {
		return err
	}
	if s.err == nil {
		s.err = err
	}
	if s.again == nil && passing(err) {
		s.again = err
	}
	return err
}

// Failed returns the error that poisoned the session, or nil.
func (s *session) Failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed()
}

func (s *session) failed() error {
	if s.again != nil {
		return s.again
	}
	return s.err
}

// enter takes mu for a statement, or says why the statement may not run.
func (s *session) enter(ctx context.Context) error {
	s.mu.Lock()
	if err := s.ready(ctx); err != nil {
		s.mu.Unlock()
		return err
	}
	return nil
}

func (s *session) ready(ctx context.Context) error {
	if s.ended {
		return sql.ErrTxDone
	}
	if err := s.failed(); err != nil {
		return err
	}
	if s.rows != nil {
		return s.fail(store.ErrRowsOpen)
	}
	if err := ctx.Err(); err != nil {
		return s.fail(err)
	}
	if err := checkReading(s.in.Conn()); err != nil {
		return s.fail(err)
	}
	return nil
}

// explain says what an error of a statement means. Whoever calls it holds mu.
func (s *session) explain(ctx context.Context, err error) error {
	return explain(ctx, err, s.in.Conn().IsClosed())
}

// exec runs a statement that comes from the facade: a query, or a prepared one.
func (s *session) exec(ctx context.Context, query string, run func(context.Context) (driver.Result, error)) (driver.Result, error) {
	ctx = callerOf(ctx)
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	if err := check(query); err != nil {
		return nil, s.fail(err)
	}
	res, err := run(ctx)
	if err != nil {
		return nil, s.fail(s.explain(ctx, err))
	}
	return res, nil
}

// query is exec for a statement that returns rows.
func (s *session) query(ctx context.Context, query string, run func(context.Context) (driver.Rows, error)) (driver.Rows, error) {
	ctx = callerOf(ctx)
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	if err := check(query); err != nil {
		return nil, s.fail(err)
	}
	in, err := run(ctx)
	if err != nil {
		return nil, s.fail(s.explain(ctx, err))
	}
	s.rows = &rows{session: s, ctx: ctx, in: in}
	s.unclosed++
	return s.rows, nil
}

// prepare compiles a statement, which lasts until the session ends.
func (s *session) prepare(ctx context.Context, query string) (driver.Stmt, error) {
	ctx = callerOf(ctx)
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	if err := check(query); err != nil {
		return nil, s.fail(err)
	}
	stmt, err := s.in.PrepareContext(ctx, query)
	if err != nil {
		return nil, s.fail(s.explain(ctx, err))
	}
	s.stmts = append(s.stmts, stmt)
	return stmt, nil
}

// Try runs fn in a savepoint.
func (s *session) Try(ctx context.Context, fn func() error) error {
	if err := s.part(ctx, "SAVEPOINT part"); err != nil {
		return err
	}
	whole := false
	defer func() { // also when fn panicked
		if !whole {
			s.undo()
		}
	}()
	err := fn()
	if err == nil {
		err = s.part(ctx, "RELEASE part")
	}
	whole = err == nil
	return err
}

// part begins or ends a savepoint.
func (s *session) part(ctx context.Context, query string) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if err := s.own(query); err != nil {
		return s.fail(s.explain(ctx, err))
	}
	return nil
}

// undo rolls back the savepoint of a Try and cures what poisoned it, unless
// the whole function has to run again.
func (s *session) undo() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.again != nil {
		return
	}
	s.closeRows()
	err := s.own("ROLLBACK TO part")
	if err == nil {
		err = s.own("RELEASE part")
	}
	if err != nil {
		s.err, s.again = nil, nil
		_ = s.fail(errLost.Wrap(fmt.Errorf("undo a part: %w", err)))
		return
	}
	s.err = nil
}

// own runs a statement of the engine's own. It has a deadline of its own and
// is never cancelled: a COMMIT that is may still have happened.
func (s *session) own(query string) error {
	_, err := s.tagged(query)
	return err
}

func (s *session) tagged(query string) (pgconn.CommandTag, error) {
	conn := s.in.Conn()
	network := conn.PgConn().Conn()
	if err := network.SetDeadline(time.Now().Add(ownTimeout)); err != nil {
		return pgconn.CommandTag{}, err
	}
	tag, err := conn.Exec(context.Background(), query)
	if !conn.IsClosed() {
		err = errors.Join(err, network.SetDeadline(time.Time{}))
	}
	return tag, err
}

// end ends the session: no statement runs after it. It returns the error that
// keeps the session from committing, and whether the function should run again.
func (s *session) end() (err error, again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rows != nil {
		_ = s.fail(store.ErrRowsOpen)
		s.closeRows()
	}
	err = s.failed()
	s.ended = true
	return err, s.again != nil
}

// commit ends the transaction and reports whether its function should run again.
func (s *session) commit() (again bool, err error) {
	if s.in.Conn().IsClosed() {
		return true, errLost
	}
	if err := checkReading(s.in.Conn()); err != nil {
		s.rollback()
		return false, err
	}
	tag, err := s.tagged(commitOf(s.in.Conn()))
	if err == nil {
		if tag.String() != "COMMIT" { // it had failed, and the session did not know
			return false, fmt.Errorf("postgres: the server answered COMMIT with %s", tag)
		}
		return false, nil
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) && !fatal(pg) { // the server has decided, against it
		s.rollback() // when it did not come to the COMMIT
		err = explain(context.Background(), err, false)
		return passing(err), err
	}
	// Also when the driver calls it safe to retry: pgx says so of a connection
	// that is closed by now, whatever was sent on it.
	return false, store.ErrUnknown.Wrap(err)
}

// rollback undoes the transaction. A connection on which that fails is not
// used again, and the server rolls back when it is closed.
func (s *session) rollback() {
	if !s.in.Conn().IsClosed() {
		_ = s.own("ROLLBACK")
	}
}

// release gives the connections of the session back, after its transaction
// has ended. Of database/sql's it must not block, and Close waits for all rows
// to be closed: those that the function forgot are closed here, and if there
// are more (of a prepared statement) the facade is left to the garbage collector.
func (s *session) release() {
	if s.lastRows != nil {
		_ = s.lastRows.Close() // what went wrong with them has poisoned the session
	}
	if s.lastRow != nil {
		_ = s.lastRow.Scan() // closes the row; a second Scan is an error without effect
	}
	s.mu.Lock()
	unclosed := s.unclosed
	for _, stmt := range s.stmts {
		_ = stmt.Close() // a connection on which that fails is not used again
	}
	_ = s.in.Close() // back to the pool, which drops it when it is dead
	s.mu.Unlock()
	if unclosed == 0 {
		_ = s.conn.Close() // a facade has nothing that could fail to close
	}
}

// closeRows closes the rows that are open.
func (s *session) closeRows() {
	if r := s.rows; r != nil {
		s.rows = nil
		_ = r.in.Close() // the session is being undone; an error of the rows has been reported
	}
}
