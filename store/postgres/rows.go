package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"reflect"
)

// rows are the rows of a query of a session.
type rows struct {
	session *session
	ctx     context.Context
	in      driver.Rows
	read    bool // to the end
}

func (r *rows) Columns() []string { return r.in.Columns() }

func (r *rows) Next(dest []driver.Value) error {
	s := r.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rows != r {
		if err := s.failed(); err != nil {
			return err
		}
		return sql.ErrTxDone
	}
	if err := r.ctx.Err(); err != nil {
		return s.fail(err)
	}
	err := r.in.Next(dest)
	if r.read = errors.Is(err, io.EOF); err != nil && !r.read {
		return s.fail(s.explain(r.ctx, err))
	}
	return err
}

func (r *rows) Close() error {
	s := r.session
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unclosed--
	if s.rows != r {
		return nil
	}
	s.rows = nil
	if err := r.ctx.Err(); err != nil && !r.read {
		// Of a prepared statement database/sql itself closes the rows when the
		// context ends, and the function need not notice.
		_ = s.fail(err)
	}
	if err := r.in.Close(); err != nil {
		return s.fail(s.explain(r.ctx, err))
	}
	return nil
}

// ColumnTypeDatabaseTypeName implements driver.RowsColumnTypeDatabaseTypeName.
func (r *rows) ColumnTypeDatabaseTypeName(i int) string {
	r.session.mu.Lock()
	defer r.session.mu.Unlock()
	if t, ok := r.in.(driver.RowsColumnTypeDatabaseTypeName); ok && r.session.rows == r {
		return t.ColumnTypeDatabaseTypeName(i)
	}
	return ""
}

// ColumnTypeScanType implements driver.RowsColumnTypeScanType.
func (r *rows) ColumnTypeScanType(i int) reflect.Type {
	r.session.mu.Lock()
	defer r.session.mu.Unlock()
	if t, ok := r.in.(driver.RowsColumnTypeScanType); ok && r.session.rows == r {
		return t.ColumnTypeScanType(i)
	}
	return reflect.TypeFor[any]()
}
