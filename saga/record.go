package saga

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/internal/mutant"
	"github.com/argosy-go/argosy/store"
)

// never is the due time of a run that waits for a signal without a limit.
const never = math.MaxInt64

// key names a run within the service.
type key struct{ saga, id string }

// record is a run's row.
type record struct {
	key
	status  State
	step    string
	attempt int
	doubt   bool
	gen     int
	done    string
	state   []byte
	pivoted bool
	cancel  bool
	holder  string
	epoch   int64
	due     sql.NullInt64
	wake    int64
	waits   string
	cause   string
	err     string
	resumes State
	events  int64
	trace   string
	created int64
	updated int64
	ended   int64
	version string
	choices string
	// deadline of the run; 0: none; negative: it has passed after the pivot and
	// the alarm was given.
	deadline int64
	begun    int64
	crashes  int
	moves    int64 // transitions that the run's holders have stored

	original proto.Message   // the state, decoded; never handed to a step
	ctx      context.Context // carries the run's trace and identity; ends with the engine
}

const columns = `saga, id, status, step, attempt, doubt, gen, done, state, pivoted, cancel, holder, epoch,
	due, wake, waits, cause, error, resumes, events, traceparent, created, updated, ended,
	version, choices, deadline, begun, crashes, moves`

func (r *record) scan(row interface{ Scan(...any) error }) error {
	return row.Scan(&r.saga, &r.id, &r.status, &r.step, &r.attempt, &r.doubt, &r.gen, &r.done, &r.state, &r.pivoted, &r.cancel,
		&r.holder, &r.epoch, &r.due, &r.wake, &r.waits, &r.cause, &r.err, &r.resumes, &r.events, &r.trace, &r.created, &r.updated, &r.ended,
		&r.version, &r.choices, &r.deadline, &r.begun, &r.crashes, &r.moves)
}

const insertRun = `INSERT INTO argosy_saga_runs (` + columns + `)
	VALUES ($1, $2, $3, $4, 0, 0, 0, '', $5, $6, 0, $7, 1, $8, $9, $10, '', '', '', 0, $11, $12, $12, 0,
	$13, '', $14, $12, 0, 0)
	ON CONFLICT DO NOTHING`

// insert stores a new run and reports whether its id was free.
func (r *record) insert(ctx context.Context, q store.Querier) (bool, error) {
	res, err := q.ExecContext(ctx, insertRun, r.saga, r.id, string(r.status), r.step, blob(r.state), flag(r.pivoted), r.holder, r.due,
		r.wake, r.waits, r.trace, r.created, r.version, r.deadline)
	if err != nil {
		return false, fmt.Errorf("start saga %s %s: %w", r.saga, r.id, err)
	}
	n, err := res.RowsAffected()
	return n == 1, err
}

const (
	setStep = `UPDATE argosy_saga_runs SET step = $1, attempt = $2, doubt = $3, gen = $4, done = $5, state = $6, pivoted = $7,
	wake = $8, waits = $9, cause = $10, error = $11, resumes = $12, events = $13, updated = $14, ended = $15,
	version = $16, choices = $17, deadline = $18, begun = $19, crashes = $20,
	moves = moves + 1`
	setPlace = `, status = $26, holder = $27, due = $28`
	whose    = ` WHERE saga = $21 AND id = $22 AND cancel = $23`
	fence    = ` AND epoch = $24 AND moves = $25`
	noFence  = ` AND $24 > 0 AND $25 >= 0`
)

// save writes the row, if it still has the epoch, the cancel mark and the
// number of transitions that r knows: a transition is stored once, also by a
// worker who was not told that it had been. was is the row before, or nil. The columns that indexes are on are
// written when they change only: most steps leave them as they were, and with
// them the pages of the indexes.
func (r *record) save(ctx context.Context, q store.Querier, was *record) error {
	args := []any{r.step, r.attempt, flag(r.doubt), r.gen, r.done, blob(r.state), flag(r.pivoted),
		r.wake, r.waits, r.cause, r.err, string(r.resumes), r.events, r.updated, r.ended,
		r.version, r.choices, r.deadline, r.begun, r.crashes, r.saga, r.id, flag(r.cancel), r.epoch, r.moves}
	query := setStep + whose + fence
	if was == nil || r.status != was.status || r.holder != was.holder || r.due != was.due {
		query = setStep + setPlace + whose + fence
		args = append(args, string(r.status), r.holder, r.due)
	}
	if mutant.NoFence {
		query = strings.Replace(query, fence, noFence, 1)
	}
	res, err := q.ExecContext(ctx, query, args...)
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err != nil {
		return err
	}
	if n == 0 {
		return errLost
	}
	r.moves++
	return nil
}

// load reads a run's row; sql.ErrNoRows when there is none.
func load(ctx context.Context, q store.Querier, k key) (*record, error) {
	r := &record{}
	err := r.scan(q.QueryRowContext(ctx, `SELECT `+columns+` FROM argosy_saga_runs WHERE saga = $1 AND id = $2`, k.saga, k.id))
	if err != nil {
		return nil, err
	}
	return r, nil
}

// collect reads the rows of a query over columns.
func collect(rows *sql.Rows, err error) ([]*record, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []*record
	for rows.Next() {
		r := &record{}
		if err := r.scan(rows); err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, rows.Err()
}

// key of the step that is under way, for the calls that it makes.
func (r *record) stepKey() string {
	k := r.saga + "/" + r.id + "/" + r.step
	if r.status == backward {
		k += "/undo"
	}
	if r.gen > 0 {
		k += fmt.Sprintf("~%d", r.gen)
	}
	return k
}

// enter makes p the step whose intent is stored; without a step, the end.
func (r *record) enter(d *definition, p place, instance string, now time.Time) {
	r.turnTo("", instance, now)
	r.version = d.version // it agrees with the list
	if p.step == nil {
		return
	}
	r.step = p.path()
	r.pivoted = d.index[p.name] >= d.pivot
	if p.kind == kindAwait {
		r.waits = p.name
		r.wait(never)
		if p.within > 0 {
			r.wait(now.Add(p.within).UnixMicro())
		}
	} else if p.limited() {
		r.wake = now.Add(p.within).UnixMicro()
	}
}

// turnTo makes the path the step under way, with nothing known of it yet.
func (r *record) turnTo(path, instance string, now time.Time) {
	r.step, r.attempt, r.doubt, r.gen, r.err, r.crashes, r.begun = path, 0, false, 0, "", 0, now.UnixMicro()
	r.holder, r.due, r.wake, r.waits = instance, sql.NullInt64{}, 0, ""
}

// wait lets go of the run until the time.
func (r *record) wait(until int64) {
	r.wake = until
	r.rest(until)
}

// rest lets go of the run until it is due, which it also is at its deadline.
func (r *record) rest(until int64) {
	if r.deadline > 0 && r.status == forward {
		until = min(until, r.deadline)
	}
	r.holder, r.due = "", sql.NullInt64{Int64: until, Valid: true}
}

// late reports whether the run's deadline has passed without being told.
func (r *record) late(now time.Time) bool {
	return r.deadline > 0 && r.status == forward && now.UnixMicro() >= r.deadline
}

// held reports whether the worker goes on with the run at once.
func (r *record) held() bool { return !r.due.Valid && !r.over() }

// over reports whether the run has ended or is parked.
func (r *record) over() bool { return r.status != forward && r.status != backward }

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// blob makes an empty column of what some drivers read back as nil.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func split(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

func add(list, name string) string {
	if list == "" {
		return name
	}
	return list + "," + name
}

// stored is an error in a column: what callers may see, and what only
// operators may.
type stored struct {
	Problem fault.Problem `json:"problem"`
	Text    string        `json:"text,omitempty"`
}

func encodeError(err error) string {
	if err == nil {
		return ""
	}
	p := stored{Problem: fault.From(err).Problem(), Text: clip(err.Error(), 2000)}
	b, merr := json.Marshal(p)
	if merr != nil {
		return `{}`
	}
	return string(b)
}

// decodeError is the inverse: a fault.Error whose cause is the full text.
func decodeError(s string) error {
	if s == "" {
		return nil
	}
	var p stored
	if err := json.Unmarshal([]byte(s), &p); err != nil {
		return fmt.Errorf("decode the stored error: %w", err)
	}
	e := fault.FromProblem(p.Problem)
	if p.Text != "" && p.Text != e.Error() {
		e = e.Wrap(errors.New(p.Text))
	}
	return e
}

// clip returns at most n bytes of s, as text that every store takes.
func clip(s string, n int) string {
	s = strings.ToValidUTF8(s[:min(len(s), n)], "")
	return strings.ReplaceAll(s, "\x00", "")
}
