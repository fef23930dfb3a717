package saga

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/telemetry"
)

// ErrCursor: the cursor of a list is not one that a list has given.
var ErrCursor = fault.New(codes.InvalidArgument, "SAGA_CURSOR", "the cursor is not one that a list has given")

// Filter chooses runs for [List]. The zero value chooses the newest 100 of all.
type Filter struct {
	// Saga is the name of the saga; empty for all.
	Saga string
	// ID is the id of the run; empty for all.
	ID string
	// States are those to show; empty for all.
	States []State
	// Before is the time before which the runs were started; zero for all.
	Before time.Time
	// Limit is the most runs to return. Zero: 100. At most 1,000.
	Limit int
	// After is the cursor that the list before has returned; empty: from the
	// newest on.
	After string
}

// List returns runs, the newest first, and a cursor for those after them, which
// is empty when there are no more. It needs no definition of their sagas.
func List(ctx context.Context, q store.Querier, f Filter) ([]Info, string, error) {
	if f.Limit <= 0 {
		f.Limit = 100
	}
	f.Limit = min(f.Limit, 1000)
	where, args := []string{"1 = 1"}, []any{f.Limit + 1}
	add := func(condition string, values ...any) {
		for _, v := range values {
			args = append(args, v)
			condition = strings.Replace(condition, "?", fmt.Sprintf("$%d", len(args)), 1)
		}
		where = append(where, condition)
	}
	if f.Saga != "" {
		add("saga = ?", f.Saga)
	}
	if f.ID != "" {
		add("id = ?", f.ID)
	}
	if !f.Before.IsZero() {
		add("created < ?", store.At(f.Before))
	}
	if len(f.States) > 0 {
		states := make([]any, len(f.States))
		for i, s := range f.States {
			states[i] = string(s)
		}
		add("status IN (?"+strings.Repeat(", ?", len(states)-1)+")", states...)
	}
	if f.After != "" {
		created, k, err := parseCursor(f.After)
		if err != nil {
			return nil, "", err
		}
		add("(created, saga, id) < (?, ?, ?)", created, k.saga, k.id)
	}
	runs, err := collect(q.QueryContext(ctx, `SELECT `+columns+` FROM argosy_saga_runs WHERE `+strings.Join(where, " AND ")+
		` ORDER BY created DESC, saga DESC, id DESC LIMIT $1`, args...))
	if err != nil {
		return nil, "", fmt.Errorf("list sagas: %w", err)
	}
	next := ""
	if len(runs) > f.Limit {
		runs = runs[:f.Limit]
		next = cursor(runs[f.Limit-1])
	}
	infos := make([]Info, len(runs))
	for i, r := range runs {
		infos[i] = r.info()
	}
	return infos, next, nil
}

// cursor names the last run of a page.
func cursor(r *record) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d/%s/%s", r.created, r.saga, r.id))
}

func parseCursor(s string) (created int64, k key, err error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return 0, k, ErrCursor.Wrap(err)
	}
	parts := strings.SplitN(string(b), "/", 3)
	if len(parts) != 3 {
		return 0, k, ErrCursor
	}
	if _, err := fmt.Sscanf(parts[0], "%d", &created); err != nil {
		return 0, k, ErrCursor.Wrap(err)
	}
	return created, key{parts[1], parts[2]}, nil
}

// Description is a run for people.
type Description struct {
	Info
	// Data is the state as JSON, with the fields blanked that its contract marks
	// sensitive; nil when the program does not define the saga or cannot read it.
	Data []byte
	// History is as that of a [Run].
	History []Event
	// Dropped is how many entries have fallen out of the history.
	Dropped int
}

// Describe returns a run with its state and history. One that does not exist is
// [ErrNotFound].
func Describe(ctx context.Context, db *store.DB, saga, id string) (Description, error) {
	var out Description
	k := key{saga, id}
	err := db.Read(ctx, func(ctx context.Context, q store.Querier) error {
		r, err := load(ctx, q, k)
		if errors.Is(err, sql.ErrNoRows) {
			return k.missing()
		}
		if err != nil {
			return fmt.Errorf("describe saga %s %s: %w", saga, id, err)
		}
		out = Description{Info: r.info(), Data: dataOf(db, r)}
		out.History, out.Dropped, err = r.history(ctx, q)
		return err
	})
	return out, err
}

// dataOf returns the state of a run as JSON, or nil.
func dataOf(db *store.DB, r *record) []byte {
	e := store.Find[engine](db)
	if e == nil || e.sagas[r.saga] == nil {
		return nil
	}
	m, err := e.sagas[r.saga].decode(r.state)
	if err != nil {
		return nil
	}
	b, err := protojson.Marshal(telemetry.Redact(m))
	if err != nil {
		return nil
	}
	return b
}

func (k key) missing() error { return ErrNotFound.WithMessage("saga %s has no run %q", k.saga, k.id) }
