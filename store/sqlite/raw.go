package sqlite

import (
	"container/list"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"modernc.org/sqlite"

	"github.com/argosy-go/argosy/internal/mutant"
	"github.com/argosy-go/argosy/store"
)

// raw is a connection to SQLite with its prepared statements. It is used by
// one goroutine at a time; whoever shares it sees to that.
type raw struct {
	conn    driverConn
	control map[string]driver.StmtExecContext // the engine's own statements
	cache   map[string]*list.Element          // of *prepared, by the query as its author wrote it
	recent  *list.List                        // most recently used first
}

// driverConn is what the driver's connections can do.
type driverConn interface {
	driver.Conn
	driver.ConnPrepareContext
	driver.ConnBeginTx
	driver.ExecerContext
	driver.QueryerContext
}

// prepared is a query with its compiled statement.
type prepared struct {
	rewritten
	query string
	stmt  statement // nil: several statements, compiled as they run
}

type statement interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

const (
	cacheSize     = 256     // prepared statements a connection
	cacheQueryMax = 1 << 14 // bytes of a query that is worth remembering
)

// setting is a pragma with the value that it must read back.
type setting struct{ name, value, want string }

func synchronous() setting {
	if mutant.NoFsync {
		return setting{"synchronous", "NORMAL", "1"}
	}
	return setting{"synchronous", "FULL", "2"}
}

const busyTimeout = 5 * time.Second

func writerSettings() []setting {
	return []setting{
		{"journal_mode", "WAL", "wal"},
		synchronous(),
		// On systems where fsync does not reach the platter, ask for what does.
		{"fullfsync", "ON", "1"},
		{"checkpoint_fullfsync", "ON", "1"},
		{"foreign_keys", "ON", "1"},
		{"temp_store", "MEMORY", "2"},
		{"cache_size", "-16000", "-16000"}, // KiB
		{"journal_size_limit", "67108864", "67108864"},
		{"trusted_schema", "OFF", "0"},
	}
}

func readerSettings() []setting {
	return []setting{
		{"query_only", "ON", "1"},
		{"temp_store", "MEMORY", "2"},
		{"cache_size", "-4000", "-4000"},
		{"trusted_schema", "OFF", "0"},
	}
}

// openRaw opens the file. mode is SQLite's: "rwc" creates it, "ro" only reads.
func openRaw(ctx context.Context, path, mode string, settings []setting) (*raw, error) {
	file := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath()}
	file.RawQuery = url.Values{
		"mode":    {mode},
		"_pragma": {fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds())},
		"_dqs":    {"0"}, // a misspelt "column" is an error and not a string
	}.Encode()
	connector, err := sqlite.NewConnector(file.String())
	if err != nil {
		return nil, err
	}
	conn, err := connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	dc, ok := conn.(driverConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("the SQLite driver's %T lacks methods", conn), conn.Close())
	}
	r := &raw{conn: dc, control: map[string]driver.StmtExecContext{}, cache: map[string]*list.Element{}, recent: list.New()}
	for _, s := range settings {
		if err := r.set(s); err != nil {
			return nil, errors.Join(err, r.close())
		}
	}
	return r, nil
}

// set runs a pragma and reads it back: SQLite ignores one that it cannot follow.
func (r *raw) set(s setting) error {
	if _, err := r.conn.ExecContext(context.Background(), "PRAGMA "+s.name+" = "+s.value, nil); err != nil {
		return fmt.Errorf("pragma %s: %w", s.name, err)
	}
	got, err := r.text("PRAGMA " + s.name)
	if err != nil {
		return fmt.Errorf("pragma %s: %w", s.name, err)
	}
	if !strings.EqualFold(got, s.want) {
		return fmt.Errorf("pragma %s: SQLite has %q where %q is needed; does the file system allow it?", s.name, got, s.want)
	}
	return nil
}

// text returns the first column of the first row of a query of the engine's own.
func (r *raw) text(query string) (string, error) {
	rows, err := r.conn.QueryContext(context.Background(), query, nil)
	if err != nil {
		return "", err
	}
	dest := make([]driver.Value, len(rows.Columns()))
	err = rows.Next(dest)
	if cerr := rows.Close(); err == nil {
		err = cerr
	}
	if errors.Is(err, io.EOF) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprint(dest[0]), nil
}

// do runs a statement of the engine's own, such as COMMIT, without a context:
// no caller may interrupt it.
func (r *raw) do(query string) error {
	stmt, ok := r.control[query]
	if !ok {
		s, err := r.conn.PrepareContext(context.Background(), query)
		if err != nil {
			return err
		}
		stmt = s.(statement)
		r.control[query] = stmt
	}
	_, err := stmt.ExecContext(context.Background(), nil)
	return err
}

// prepare returns the query compiled, from the cache when it was met before.
func (r *raw) prepare(query string) (*prepared, error) {
	if e, ok := r.cache[query]; ok {
		r.recent.MoveToFront(e)
		return e.Value.(*prepared), nil
	}
	q, err := rewrite(query)
	if err != nil {
		return nil, err
	}
	p := &prepared{rewritten: q, query: query}
	if !q.single || len(query) > cacheQueryMax {
		return p, nil
	}
	s, err := r.conn.PrepareContext(context.Background(), q.text)
	if err != nil {
		return nil, err
	}
	p.stmt = s.(statement)
	r.cache[query] = r.recent.PushFront(p)
	if len(r.cache) > cacheSize {
		oldest := r.recent.Remove(r.recent.Back()).(*prepared)
		delete(r.cache, oldest.query)
		if err := oldest.stmt.Close(); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (r *raw) exec(ctx context.Context, p *prepared, args []driver.NamedValue) (driver.Result, error) {
	if p.stmt == nil {
		return r.conn.ExecContext(ctx, p.text, args)
	}
	return p.stmt.ExecContext(ctx, args)
}

func (r *raw) query(ctx context.Context, p *prepared, args []driver.NamedValue) (driver.Rows, error) {
	if p.stmt == nil {
		return r.conn.QueryContext(ctx, p.text, args)
	}
	return p.stmt.QueryContext(ctx, args)
}

// close closes the statements and the connection.
func (r *raw) close() error {
	var errs []error
	for _, s := range r.control {
		errs = append(errs, s.(statement).Close())
	}
	for e := r.recent.Front(); e != nil; e = e.Next() {
		errs = append(errs, e.Value.(*prepared).stmt.Close())
	}
	return errors.Join(append(errs, r.conn.Close())...)
}

// SQLite's primary result codes that the engine tells apart.
const (
	codeBusy       = 5
	codeFull       = 13
	codeConstraint = 19
)

// codeOf returns the primary result code of an error of SQLite, and 0 for others.
func codeOf(err error) int {
	var coded interface{ Code() int }
	if errors.As(err, &coded) {
		return coded.Code() & 0xff
	}
	return 0
}

// explain gives errors of SQLite that mean something to a caller their names.
func explain(err error) error {
	if codeOf(err) == codeFull {
		return store.ErrFull.Wrap(err)
	}
	return err
}
