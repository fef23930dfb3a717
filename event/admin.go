package event

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/telemetry"
)

// adminBody bounds what an operator sends.
const adminBody = 64 << 10

// admin mounts what operators ask over HTTP.
func (r *runtime) admin() {
	for pattern, f := range map[string]func(*http.Request) (any, error){
		"GET /events":                   r.getEvents,
		"GET /dead-letters":             r.getLetters,
		"GET /dead-letters/{id}":        r.getLetter,
		"POST /dead-letters/replay":     r.postReplay,
		"POST /dead-letters/discard":    r.postDiscard,
		"POST /consumers/{name}/replay": r.postRewind,
		"GET /events/audit":             r.getAudit,
	} {
		r.setup.Admin(pattern, answer(f))
	}
}

// answer turns a function into a handler.
func answer(f func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		q.Body = http.MaxBytesReader(w, q.Body, adminBody)
		result, err := f(q)
		var body []byte
		if err == nil {
			body, err = json.Marshal(result)
		}
		if err != nil {
			fault.WriteHTTP(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body) // the client may be gone; nobody is left to tell
	})
}

// letterJSON is a dead letter as operators see it.
type letterJSON struct {
	ID       string            `json:"id"`
	Consumer string            `json:"consumer"`
	Type     string            `json:"type"`
	Key      string            `json:"key"`
	Topic    string            `json:"topic"`
	Attempts int               `json:"attempts"`
	At       time.Time         `json:"at"`
	Code     string            `json:"code"`
	Reason   string            `json:"reason"`
	Message  string            `json:"message"`
	Headers  map[string]string `json:"headers,omitempty"`
	Body     json.RawMessage   `json:"body,omitempty"`
	Raw      string            `json:"raw,omitempty"` // what is said of a body that cannot be decoded
}

func letterOf(d DeadLetter) letterJSON {
	return letterJSON{ID: d.ID, Consumer: d.Consumer, Type: d.Type, Key: d.Key, Topic: d.Topic, Attempts: d.Attempts,
		At: d.Time, Code: d.Code, Reason: d.Reason, Message: d.Error}
}

func (r *runtime) getLetters(q *http.Request) (any, error) {
	values := q.URL.Query()
	f := DeadLetterFilter{Consumer: values.Get("consumer"), Type: values.Get("type"), Key: values.Get("key")}
	var err error
	if f.Limit, err = number(values.Get("limit"), "limit", 100, mostLetters); err != nil {
		return nil, err
	}
	if v := values.Get("after"); v != "" {
		if f.After, err = strconv.ParseInt(v, 10, 64); err != nil {
			return nil, fault.Invalid("after", "%q is not a cursor that an earlier answer gave", v)
		}
	}
	letters, err := DeadLetters(q.Context(), r.db, f)
	if err != nil {
		return nil, err
	}
	page := struct {
		DeadLetters []letterJSON `json:"deadLetters"`
		Next        string       `json:"next"`
	}{DeadLetters: []letterJSON{}}
	for _, d := range letters {
		page.DeadLetters = append(page.DeadLetters, letterOf(d))
	}
	if len(letters) == f.Limit {
		page.Next = strconv.FormatInt(letters[len(letters)-1].Seq, 10)
	}
	return page, nil
}

// number reads a number between 1 and most; empty is the default.
func number(v, field string, or, most int) (int, error) {
	if v == "" {
		return or, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > most {
		return 0, fault.Invalid(field, "%q is not a number from 1 to %d", v, most)
	}
	return n, nil
}

func (r *runtime) getLetter(q *http.Request) (any, error) {
	id := q.PathValue("id")
	f := DeadLetterFilter{Letters: []DeadLetterID{{ID: id, Consumer: q.URL.Query().Get("consumer")}}, Limit: 2}
	if !q.URL.Query().Has("consumer") {
		f.Letters = []DeadLetterID{{ID: id}}
		for _, c := range r.consumers {
			f.Letters = append(f.Letters, DeadLetterID{ID: id, Consumer: c.durable})
		}
	}
	letters, err := DeadLetters(q.Context(), r.db, f)
	if err != nil {
		return nil, err
	}
	switch len(letters) {
	case 0:
		return nil, fault.New(codes.NotFound, "DEAD_LETTER_NOT_FOUND", "there is no dead letter %s", id)
	case 1:
		return detailed(letters[0]), nil
	}
	return nil, fault.Invalid("consumer", "several consumers have a dead letter %s: name one", id)
}

// detailed is a letter with its content, without what its contract hides. Where
// no contract tells what that is, the content is only described, so that two
// letters, or a letter and a message elsewhere, can be compared.
func detailed(d DeadLetter) letterJSON {
	l := letterOf(d)
	l.Headers = d.Header
	if m, ok := d.Message(); ok {
		if body, err := protojson.Marshal(telemetry.Redact(m)); err == nil {
			l.Body = body
			return l
		}
	}
	l.Raw = fmt.Sprintf("%d bytes that cannot be decoded, and may be sensitive; SHA-256 %x", len(d.Body), sha256.Sum256(d.Body))
	return l
}

// selection is which letters an operator means.
type selection struct {
	IDs []struct {
		ID       string `json:"id"`
		Consumer string `json:"consumer"`
	} `json:"ids"`
	Filter *struct {
		Consumer string `json:"consumer"`
		Type     string `json:"type"`
		Key      string `json:"key"`
	} `json:"filter"`
	Limit  int    `json:"limit"`
	Reason string `json:"reason"`
}

// read reads a selection: by names or by a filter, never neither.
func (s *selection) read(q *http.Request) (DeadLetterFilter, Operator, error) {
	var f DeadLetterFilter
	if err := decode(q, s); err != nil {
		return f, Operator{}, err
	}
	by := operatorOf(q, s.Reason)
	if s.Limit < 0 || s.Limit > mostLetters {
		return f, by, fault.Invalid("limit", "%d is not a number from 1 to %d", s.Limit, mostLetters)
	}
	switch {
	case (len(s.IDs) > 0) == (s.Filter != nil):
		return f, by, fault.Invalid("ids", "name letters by ids, or select them by a filter")
	case len(s.IDs) > mostLetters:
		return f, by, fault.Invalid("ids", "more than %d letters are named", mostLetters)
	case s.Filter != nil:
		return DeadLetterFilter{Consumer: s.Filter.Consumer, Type: s.Filter.Type, Key: s.Filter.Key, Limit: s.Limit}, by, nil
	}
	f.Limit = len(s.IDs)
	for _, l := range s.IDs {
		f.Letters = append(f.Letters, DeadLetterID{ID: l.ID, Consumer: l.Consumer})
	}
	return f, by, nil
}

// decode reads a JSON body that has no members but those of v.
func decode(q *http.Request, v any) error {
	d := json.NewDecoder(q.Body)
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		return fault.New(codes.InvalidArgument, "BODY_TOO_LARGE", "the body is larger than %d bytes", large.Limit)
	}
	if err != nil {
		return fault.Invalid("body", "it is not the JSON that is expected: %v", err)
	}
	return nil
}

// operatorOf reads who asks.
func operatorOf(q *http.Request, reason string) Operator {
	return Operator{Actor: q.Header.Get("Argosy-Actor"), Reason: reason}
}

func (r *runtime) postReplay(q *http.Request) (any, error) {
	f, by, err := new(selection).read(q)
	if err != nil {
		return nil, err
	}
	n, err := ReplayDeadLetters(q.Context(), r.db, f, by)
	return map[string]int{"replayed": n}, err
}

func (r *runtime) postDiscard(q *http.Request) (any, error) {
	f, by, err := new(selection).read(q)
	if err != nil {
		return nil, err
	}
	n, err := DiscardDeadLetters(q.Context(), r.db, f, by)
	return map[string]int{"discarded": n}, err
}

func (r *runtime) postRewind(q *http.Request) (any, error) {
	var body struct {
		From   time.Time `json:"from"`
		Reason string    `json:"reason"`
	}
	if err := decode(q, &body); err != nil {
		return nil, err
	}
	name := q.PathValue("name")
	if !slices.ContainsFunc(r.consumers, func(c *consumer) bool { return c.durable == name }) {
		return nil, errNoConsumer.WithMetadata("consumer", name)
	}
	if _, ok := r.setup.Broker().(broker.Rewinder); !ok {
		return nil, fault.New(codes.Unimplemented, "BROKER_CANNOT_REPLAY", "the broker of %s keeps no events to replay", r.setup.Name())
	}
	if err := ReplayConsumer(q.Context(), r.db, name, body.From, operatorOf(q, body.Reason)); err != nil {
		return nil, err
	}
	return map[string]any{"consumer": name, "from": body.From}, nil
}

// consumerJSON is a consumer, with who works on it.
type consumerJSON struct {
	Name    string   `json:"name"`
	Message string   `json:"message"`
	Topic   string   `json:"topic"`
	Holder  string   `json:"holder"`
	Holders []string `json:"holders"` // by partition, where replicas share them
}

func (r *runtime) getEvents(q *http.Request) (any, error) {
	var out struct {
		Outbox        int            `json:"outbox"`
		OldestSeconds float64        `json:"oldestSeconds"`
		Pending       int            `json:"pending"`
		DeadLetters   int            `json:"deadLetters"`
		Consumers     []consumerJSON `json:"consumers"`
	}
	out.Consumers = []consumerJSON{}
	err := r.db.Read(q.Context(), func(ctx context.Context, q store.Querier) (err error) {
		if out.Outbox, out.Pending, out.DeadLetters, err = Backlog(ctx, q); err != nil {
			return err
		}
		var oldest store.Time
		if err := q.QueryRowContext(ctx, "SELECT MIN(at) FROM argosy_outbox").Scan(&oldest); err != nil {
			return err
		}
		out.OldestSeconds = r.age(oldest.Time)
		holders, err := r.holders(ctx, q)
		if err != nil {
			return err
		}
		out.Consumers = out.Consumers[:0]
		for _, c := range r.consumers {
			out.Consumers = append(out.Consumers, r.consumerOf(c, holders))
		}
		return nil
	})
	return out, err
}

// age returns how old something is, in seconds.
func (r *runtime) age(at time.Time) float64 {
	if at.IsZero() {
		return 0
	}
	return max(0, r.setup.Now().Sub(at).Seconds())
}

// holders returns who holds which lease.
func (r *runtime) holders(ctx context.Context, q store.Querier) (map[string]string, error) {
	rows, err := q.QueryContext(ctx, "SELECT name, holder FROM argosy_leases WHERE name LIKE 'event/%'")
	if err != nil {
		return nil, fmt.Errorf("read who holds what: %w", err)
	}
	defer rows.Close()
	holders := map[string]string{}
	for rows.Next() {
		var name, holder string
		if err := rows.Scan(&name, &holder); err != nil {
			return nil, err
		}
		holders[name] = holder
	}
	return holders, rows.Err()
}

func (r *runtime) consumerOf(c *consumer, holders map[string]string) consumerJSON {
	out := consumerJSON{Name: c.durable, Message: c.kind, Topic: c.topic}
	for _, s := range r.spans() {
		holder := holders[leaseName(c.group(), s)]
		out.Holders = append(out.Holders, holder)
		switch {
		case out.Holder == "", out.Holder == holder:
			out.Holder = holder
		default:
			out.Holder = "several"
		}
	}
	return out
}

func (r *runtime) getAudit(q *http.Request) (any, error) {
	after, err := strconv.ParseInt("0"+q.URL.Query().Get("after"), 10, 64)
	if err != nil {
		return nil, fault.Invalid("after", "it is not a cursor that an earlier answer gave")
	}
	records, err := Audit(q.Context(), r.db, after)
	if err != nil {
		return nil, err
	}
	type record struct {
		At       time.Time `json:"at"`
		Actor    string    `json:"actor"`
		Action   string    `json:"action"`
		Consumer string    `json:"consumer"`
		ID       string    `json:"id"`
		Key      string    `json:"key"`
		Type     string    `json:"type"`
		Reason   string    `json:"reason"`
	}
	page := struct {
		Records []record `json:"records"`
		Next    string   `json:"next"`
	}{Records: []record{}}
	for _, a := range records {
		page.Records = append(page.Records, record{a.Time, a.Actor, a.Action, a.Consumer, a.ID, a.Key, a.Type, a.Reason})
		page.Next = strconv.FormatInt(a.Seq, 10)
	}
	return page, nil
}
