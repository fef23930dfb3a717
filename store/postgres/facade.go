package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"
)

// facade is the driver connection that database/sql sees. It is bound to one
// session at a time and passes its statements on.
type facade struct {
	session *session
	stmts   int // statements that were prepared and not closed
}

var errFacade = errors.New("postgres: transactions are run by the engine")

func (f *facade) Prepare(query string) (driver.Stmt, error) {
	return f.PrepareContext(context.Background(), query)
}

func (f *facade) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	in, err := f.session.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	f.stmts++
	return &facadeStmt{f, f.session, query, in}, nil
}

func (f *facade) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return f.session.exec(ctx, query, func(ctx context.Context) (driver.Result, error) {
		return f.session.in.ExecContext(ctx, query, args)
	})
}

func (f *facade) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return f.session.query(ctx, query, func(ctx context.Context) (driver.Rows, error) {
		return f.session.in.QueryContext(ctx, query, args)
	})
}

func (f *facade) Begin() (driver.Tx, error) { return nil, errFacade }
func (f *facade) Close() error              { return nil }

// IsValid is asked when the session has ended: database/sql keeps the
// statements that nobody closed until it drops their connection.
func (f *facade) IsValid() bool { return f.stmts == 0 }

// CheckNamedValue makes the value of an argument one that every store knows. A
// bad argument is a failed statement like any other.
func (f *facade) CheckNamedValue(v *driver.NamedValue) error {
	if err := checkArgument(v); err != nil {
		return f.session.poison(err)
	}
	return nil
}

// checkArgument makes the value of an argument one that every store knows.
func checkArgument(v *driver.NamedValue) error {
	value, err := driver.DefaultParameterConverter.ConvertValue(v.Value)
	if err == nil && v.Name != "" {
		err = fmt.Errorf("the argument is named %q: arguments are $1, $2 and so on", v.Name)
	}
	if t, ok := value.(time.Time); err == nil && ok {
		err = fmt.Errorf("the argument is the time.Time %s: store.At makes a column value of it", t)
	}
	if err != nil {
		return fmt.Errorf("argument $%d: %w", v.Ordinal, err)
	}
	v.Value = value
	return nil
}

// facadeStmt is a prepared statement as database/sql sees it. The one behind
// it ends with the session.
type facadeStmt struct {
	facade  *facade
	session *session
	query   string
	in      driver.Stmt
}

func (t *facadeStmt) Close() error  { t.facade.stmts--; return nil }
func (t *facadeStmt) NumInput() int { return -1 }

func (t *facadeStmt) Exec([]driver.Value) (driver.Result, error) { return nil, errFacade }
func (t *facadeStmt) Query([]driver.Value) (driver.Rows, error)  { return nil, errFacade }

func (t *facadeStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return t.session.exec(ctx, t.query, func(ctx context.Context) (driver.Result, error) {
		return t.in.(driver.StmtExecContext).ExecContext(ctx, args)
	})
}

func (t *facadeStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return t.session.query(ctx, t.query, func(ctx context.Context) (driver.Rows, error) {
		return t.in.(driver.StmtQueryContext).QueryContext(ctx, args)
	})
}

// newFacades returns the pool through which statements pass.
func newFacades(n int) *sql.DB {
	db := sql.OpenDB(facades{})
	db.SetMaxIdleConns(n + 2)
	return db
}

// facades is the driver.Connector of facades.
type facades struct{}

func (facades) Connect(context.Context) (driver.Conn, error) { return &facade{}, nil }
func (facades) Driver() driver.Driver                        { return facadeDriver{} }

type facadeDriver struct{}

func (facadeDriver) Open(string) (driver.Conn, error) { return nil, errFacade }
