package postgres

import (
	"context"
	"database/sql/driver"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// through is database/sql's way through a connection that somebody else has
// taken from pgx, and keeps: statements run in the transaction that is open on it.
type through struct{ conn *pgx.Conn }

func (t through) Connect(context.Context) (driver.Conn, error) { return t, nil }
func (t through) Driver() driver.Driver                        { return facadeDriver{} }
func (t through) Begin() (driver.Tx, error)                    { return nil, errFacade }
func (t through) Close() error                                 { return nil }

func (t through) CheckNamedValue(v *driver.NamedValue) error { return checkArgument(v) }

func (t through) Prepare(query string) (driver.Stmt, error) { return throughStmt{t, query}, nil }

func (t through) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	tag, err := t.conn.Exec(ctx, query, values(args)...)
	if err != nil {
		return nil, err
	}
	return driver.RowsAffected(tag.RowsAffected()), nil
}

func (t through) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := t.conn.Query(ctx, query, append([]any{pgx.QueryResultFormats{pgx.TextFormatCode}}, values(args)...)...)
	if err != nil {
		return nil, err
	}
	if !rows.Next() { // an error of the query shows itself here
		if err := rows.Err(); err != nil {
			return nil, err
		}
		return &throughRows{rows: rows, fields: rows.FieldDescriptions(), ended: true}, nil
	}
	return &throughRows{rows: rows, fields: rows.FieldDescriptions(), first: true}, nil
}

func values(args []driver.NamedValue) []any {
	out := make([]any, len(args))
	for i, a := range args {
		out[i] = a.Value
	}
	return out
}

// throughStmt is a prepared statement: pgx prepares what comes again by itself.
type throughStmt struct {
	through through
	query   string
}

func (s throughStmt) Close() error                               { return nil }
func (s throughStmt) NumInput() int                              { return -1 }
func (s throughStmt) Exec([]driver.Value) (driver.Result, error) { return nil, errFacade }
func (s throughStmt) Query([]driver.Value) (driver.Rows, error)  { return nil, errFacade }

func (s throughStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return s.through.ExecContext(ctx, s.query, args)
}

func (s throughStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.through.QueryContext(ctx, s.query, args)
}

// throughRows are rows of pgx, in text.
type throughRows struct {
	rows   pgx.Rows
	fields []pgconn.FieldDescription
	first  bool // the first row has been fetched
	ended  bool
}

func (r *throughRows) Columns() []string {
	names := make([]string, len(r.fields))
	for i, f := range r.fields {
		names[i] = f.Name
	}
	return names
}

func (r *throughRows) Close() error { r.rows.Close(); return nil }

func (r *throughRows) Next(into []driver.Value) error {
	if !r.first && (r.ended || !r.rows.Next()) {
		r.ended = true
		if err := r.rows.Err(); err != nil {
			return err
		}
		return io.EOF
	}
	r.first = false
	for i, text := range r.rows.RawValues() {
		v, err := valueOf(r.fields[i].DataTypeOID, text)
		if err != nil {
			return fmt.Errorf("column %s: %w", r.fields[i].Name, err)
		}
		into[i] = v
	}
	return nil
}

// valueOf returns a value of the types that every store knows; any other is text.
func valueOf(oid uint32, text []byte) (driver.Value, error) {
	if text == nil {
		return nil, nil
	}
	switch s := string(text); oid {
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID:
		return strconv.ParseInt(s, 10, 64)
	case pgtype.Float4OID, pgtype.Float8OID:
		return strconv.ParseFloat(s, 64)
	case pgtype.BoolOID:
		return s == "t", nil
	case pgtype.ByteaOID:
		return hex.DecodeString(strings.TrimPrefix(s, `\x`))
	default:
		return s, nil
	}
}
