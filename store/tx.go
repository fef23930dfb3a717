package store

import (
	"context"
	"database/sql"
)

// Tx is a transaction as a service sees it. It has database/sql's four
// methods, and it carries everything that must commit with them. It is used by
// one goroutine at a time, and is dead once the function it was given to has
// returned.
type Tx struct {
	db      *DB
	dialect Dialect // also when the handle is being closed
	ctx     context.Context
	conn    Conn
	err     error
	after   []func()
	lists   []collected
}

type insideKey struct{}

// Inside reports whether ctx belongs to a running transaction. Clients refuse
// to call out with such a context.
func Inside(ctx context.Context) bool { return ctx.Value(insideKey{}) != nil }

func newTx(ctx context.Context, db *DB, d Dialect, c Conn) *Tx {
	tx := &Tx{db: db, dialect: d, conn: c}
	tx.ctx = context.WithValue(ctx, insideKey{}, tx)
	return tx
}

// run runs fn and, when it succeeded, writes what was collected. It returns
// the error that must keep the transaction from committing.
func (tx *Tx) run(fn func(context.Context, *Tx) error) error {
	if err := fn(tx.ctx, tx); err != nil {
		return err
	}
	for again := true; again; { // a flush may collect more, for any list
		again = false
		for i := 0; i < len(tx.lists) && tx.failed() == nil; i++ {
			if tx.lists[i].size() > 0 {
				again = true
				tx.Fail(tx.lists[i].flush(tx))
			}
		}
	}
	return tx.failed()
}

func (tx *Tx) failed() error {
	if tx.err != nil {
		return tx.err
	}
	return tx.conn.Failed()
}

// committed runs the functions that waited for the commit.
func (tx *Tx) committed() {
	for _, f := range tx.after {
		f()
	}
}

// DB returns the database of the transaction.
func (tx *Tx) DB() *DB { return tx.db }

// Dialect returns the SQL that the transaction speaks.
func (tx *Tx) Dialect() Dialect { return tx.dialect }

// Context returns the context that the transaction function was given.
func (tx *Tx) Context() context.Context { return tx.ctx }

// ExecContext runs a statement that returns no rows.
func (tx *Tx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return tx.conn.ExecContext(ctx, query, args...)
}

// QueryContext runs a statement that returns rows. Close them before the next
// statement.
func (tx *Tx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return tx.conn.QueryContext(ctx, query, args...)
}

// QueryRowContext runs a statement that returns at most one row. Finding none
// is not a failed statement: sql.ErrNoRows from Scan leaves the transaction whole.
func (tx *Tx) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return tx.conn.QueryRowContext(ctx, query, args...)
}

// PrepareContext prepares a statement for the rest of the transaction.
func (tx *Tx) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	return tx.conn.PrepareContext(ctx, query)
}

// Fail makes the transaction roll back with err, whatever its function
// returns. The first error wins; nil is ignored.
func (tx *Tx) Fail(err error) {
	if tx.err == nil {
		tx.err = err
	}
}

// AfterCommit runs f after the commit, on the goroutine that called Do. It is
// for waking workers: f must be quick and must not panic, and what must not be
// lost belongs into the transaction.
func (tx *Tx) AfterCommit(f func()) { tx.after = append(tx.after, f) }

// Try runs fn in a savepoint: when it fails, what it wrote, published and
// started is undone, and the transaction goes on. It is the only nesting.
func (tx *Tx) Try(ctx context.Context, fn func(ctx context.Context, tx *Tx) error) error {
	if err := tx.failed(); err != nil {
		return err
	}
	undo, whole := tx.mark(), false
	defer func() { // also when fn panicked
		if !whole {
			undo()
		}
	}()
	err := tx.conn.Try(ctx, func() error {
		if err := fn(ctx, tx); err != nil {
			return err
		}
		return tx.failed()
	})
	whole = err == nil
	return err
}

// mark returns a function that forgets everything which was added to tx since.
func (tx *Tx) mark() func() {
	after, lens := len(tx.after), make([]int, len(tx.lists))
	for i, l := range tx.lists {
		lens[i] = l.size()
	}
	return func() {
		tx.err = nil
		tx.after = tx.after[:after]
		for i, n := range lens {
			tx.lists[i].cut(n)
		}
		tx.lists = tx.lists[:len(lens)]
	}
}

// collected is a list[T] of some T.
type collected interface {
	size() int
	cut(n int)
	flush(tx *Tx) error
}

type list[T any] struct {
	items []T
	write func(ctx context.Context, tx *Tx, items []T) error
}

func (l *list[T]) size() int { return len(l.items) }
func (l *list[T]) cut(n int) { l.items = l.items[:n] }
func (l *list[T]) flush(tx *Tx) error {
	items := l.items
	l.items = nil
	return l.write(tx.ctx, tx, items)
}

// Collect keeps item until the function of the transaction has succeeded and
// then hands all items of its type to flush, in order, still inside the
// transaction; what a flush collects is flushed after it. Items collected
// inside a Try that failed are dropped. It is for mechanisms that must write
// last and in order, as the outbox does; all calls for one type give the same
// flush.
func Collect[T any](tx *Tx, item T, flush func(ctx context.Context, tx *Tx, items []T) error) {
	for _, c := range tx.lists {
		if l, ok := c.(*list[T]); ok {
			l.items = append(l.items, item)
			return
		}
	}
	tx.lists = append(tx.lists, &list[T]{items: []T{item}, write: flush})
}
