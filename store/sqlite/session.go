package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"sync"
	"time"

	"github.com/argosy-go/argosy/store"
)

// session is one run of a transaction function: the [store.Conn] that it is
// given. Its statements go through database/sql to a [facade], and from there
// come back here, where they meet the connection that many sessions share.
//
// mu is held for the length of every statement. Whoever finds it free may
// revoke the session: from then on no statement of it reaches the connection.
type session struct {
	conn *sql.Conn // database/sql's view; its driver connection is a facade
	// interruptible statements end when their context does. Only a reader has
	// its connection for itself.
	interruptible bool

	mu    sync.Mutex
	raw   *raw
	state state
	err   error     // what poisoned the session
	rows  *rows     // the open rows, at most one
	idle  time.Time // when the last statement ended
	// spoilt: SQLite rolled back the whole transaction, not this session only.
	spoilt bool

	lastRows *sql.Rows // handed out last, to be closed if the function forgot
	lastRow  *sql.Row
	unclosed int // rows that database/sql has not closed
}

type state int

const (
	active  state = iota
	revoked       // the function may still be running; its statements fail
	ended
)

var _ store.Conn = (*session)(nil)

// newSession binds a session to a connection of database/sql.
func newSession(db *sql.DB, r *raw, interruptible bool) (*session, error) {
	conn, err := db.Conn(context.Background())
	if err != nil {
		return nil, err
	}
	s := &session{conn: conn, raw: r, interruptible: interruptible, idle: time.Now()}
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
// act on it from another goroutine and with the connection of everybody.
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
	if s.err == nil && s.state == active {
		s.err = err
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
	if s.state == revoked {
		return store.ErrRevoked
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
	if s.state == ended {
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
	return nil
}

func (s *session) leave() {
	s.idle = time.Now()
	s.mu.Unlock()
}

// statementContext returns the context that the driver may see.
func (s *session) statementContext(ctx context.Context) context.Context {
	if s.interruptible {
		return ctx
	}
	return context.Background()
}

// exec runs a statement that comes from the facade.
func (s *session) exec(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	ctx = callerOf(ctx)
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	p, err := s.prepare(query, len(args))
	if err != nil {
		return nil, err
	}
	res, err := s.raw.exec(s.statementContext(ctx), p, args)
	if err != nil {
		return nil, s.fail(explain(err))
	}
	return res, nil
}

// query is exec for a statement that returns rows.
func (s *session) query(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	ctx = callerOf(ctx)
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	p, err := s.prepare(query, len(args))
	if err != nil {
		return nil, err
	}
	in, err := s.raw.query(s.statementContext(ctx), p, args)
	if err != nil {
		return nil, s.fail(explain(err))
	}
	s.rows = &rows{session: s, ctx: ctx, in: in}
	s.unclosed++
	return s.rows, nil
}

func (s *session) prepare(query string, args int) (*prepared, error) {
	p, err := s.raw.prepare(query)
	if err == nil {
		err = p.checkArgs(args)
	}
	if err != nil {
		return nil, s.fail(err)
	}
	return p, nil
}

// check compiles a statement, so that PrepareContext meets its errors.
func (s *session) check(ctx context.Context, query string) error {
	if err := s.enter(callerOf(ctx)); err != nil {
		return err
	}
	defer s.leave()
	if _, err := s.raw.prepare(query); err != nil {
		return s.fail(err)
	}
	return nil
}

// Try runs fn in a savepoint.
func (s *session) Try(ctx context.Context, fn func() error) error {
	if err := s.do(ctx, "SAVEPOINT part"); err != nil {
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
		err = s.do(ctx, "RELEASE part")
	}
	whole = err == nil
	return err
}

// do runs a statement of the engine's own within the session.
func (s *session) do(ctx context.Context, query string) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	if err := s.raw.do(query); err != nil {
		return s.fail(explain(err))
	}
	return nil
}

// undo rolls back the savepoint of a Try and cures what poisoned it.
func (s *session) undo() {
	s.mu.Lock()
	defer s.leave()
	if s.state != active || s.spoilt {
		return
	}
	s.closeRows()
	err := s.raw.do("ROLLBACK TO part")
	if err == nil {
		err = s.raw.do("RELEASE part")
	}
	if err != nil { // no savepoint: SQLite rolled back everything
		s.spoilt = true
		_ = s.fail(err)
		return
	}
	s.err = nil
}

// revoke takes the connection from a session that has run no statement for
// the limit. It reports how long it has been idle when it has not.
func (s *session) revoke(limit time.Duration) (idle time.Duration, done bool) {
	if !s.mu.TryLock() {
		return 0, false // a statement is running
	}
	defer s.mu.Unlock()
	if s.state != active {
		return 0, false
	}
	if idle = time.Since(s.idle); idle < limit {
		return idle, false
	}
	s.closeRows()
	s.state = revoked
	return idle, true
}

// end ends the session: no statement runs after it. It returns the error that
// keeps the session from committing, and whether the session was revoked.
func (s *session) end() (err error, wasRevoked bool) {
	s.mu.Lock()
	if wasRevoked = s.state == revoked; !wasRevoked && s.rows != nil {
		_ = s.fail(store.ErrRowsOpen)
		s.closeRows()
	}
	err = s.failed()
	s.state = ended
	s.mu.Unlock()
	return err, wasRevoked
}

// release gives the connection of database/sql back, after the function has
// returned. It must not block, and Close waits for all rows to be closed: those
// that the function forgot are closed here, and if there are more (of a
// prepared statement) the facade is left to the garbage collector.
func (s *session) release() {
	if s.lastRows != nil {
		_ = s.lastRows.Close() // what went wrong with them has poisoned the session
	}
	if s.lastRow != nil {
		_ = s.lastRow.Scan() // closes the row; a second Scan is an error without effect
	}
	s.mu.Lock()
	unclosed := s.unclosed
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
