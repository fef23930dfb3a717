package witness

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/argosy-go/argosy/shop/witness/ledger"
	"github.com/argosy-go/argosy/shop/witness/webhook"
)

const (
	maxBody = 64 << 10
	maxKey  = 255
	// hangFor bounds how long a request that is left without an answer hangs.
	hangFor = 30 * time.Second
)

// Books are the state of a witness. The desk calls all methods under one
// lock, in the order of the ledger, at start and at work alike.
type Books interface {
	// Apply makes what the entry says true. It must not fail and must depend
	// on nothing but the books and the entry.
	Apply(ledger.Entry)
	// Reply is the answer to the request that made the entry, after Apply.
	Reply(ledger.Entry) any
	// Notices are the webhooks that follow from the entry, and the ids of
	// those that it takes back. IDs depend on the entry alone.
	Notices(ledger.Entry) (send []webhook.Event, revoke []string)
}

// Refusal is an answer that leaves no trace in the ledger: the request made
// no sense, or the thing is not there.
type Refusal struct {
	Status  int    `json:"-"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Error returns the code and the message.
func (r *Refusal) Error() string { return r.Code + ": " + r.Message }

// Refuse returns a [Refusal].
func Refuse(status int, code, format string, args ...any) error {
	return &Refusal{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// Decision is what becomes of a request: the entry to book, and how the
// witness misbehaves while it answers.
type Decision struct {
	// Entry has Kind, Outcome, Status and what else is known; the desk adds
	// the key, the time if it is zero, and the reply.
	Entry ledger.Entry
	// Hang leaves this first request without an answer once it is booked.
	Hang bool
	// Delay is how long after the booking this first answer comes.
	Delay time.Duration
}

// Desk takes the requests of a witness. Exactly one decision is made for a
// key, whatever happens.
type Desk struct {
	books  Books
	ledger *ledger.Ledger
	sender *webhook.Sender
	stop   <-chan struct{}

	mu      sync.Mutex
	answers map[string]*answer
	random  *rand.Rand
}

// answer is what a key got. Its entry may still be on the way to the disk.
type answer struct {
	request string
	status  int
	reply   []byte
	receipt ledger.Receipt
}

// restore brings the books, the answers and the pending webhooks back.
func (d *Desk) restore(entries []ledger.Entry) {
	pending := map[string]webhook.Event{}
	var order []string
	for _, e := range entries {
		if e.Kind == ledger.Notified {
			delete(pending, e.ID)
			continue
		}
		d.books.Apply(e)
		d.answers[e.Key] = &answer{request: e.Request, status: e.Status, reply: e.Reply}
		send, revoke := d.books.Notices(e)
		for _, ev := range send {
			pending[ev.ID] = ev
			order = append(order, ev.ID)
		}
		for _, id := range revoke {
			delete(pending, id)
		}
	}
	for _, id := range order {
		if ev, ok := pending[id]; ok {
			d.sender.Add(ev, nil)
		}
	}
}

// Between returns a random duration from low to high. Call it in a decision.
func (d *Desk) Between(low, high time.Duration) time.Duration {
	return low + time.Duration(d.random.Int64N(int64(high-low)+1))
}

// View runs f on the books and returns when all that f may have seen is on
// disk.
func (d *Desk) View(f func()) error {
	d.mu.Lock()
	f()
	barrier := d.ledger.Barrier()
	d.mu.Unlock()
	return barrier.Wait()
}

// Operation returns the handler of one keyed operation. decide is called once
// a key, under the lock of the books, with the path's {reference} and the
// body; its error is a [Refusal], which books nothing.
func Operation[T any](d *Desk, decide func(reference string, req T) (Decision, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, req, err := decode[T](w, r)
		if err != nil {
			WriteError(w, err)
			return
		}
		key := r.Header.Get("Idempotency-Key")
		a, first, err := d.once(key, fingerprint(r, body), func() (Decision, error) {
			return decide(r.PathValue("reference"), req)
		})
		if err != nil {
			WriteError(w, err)
			return
		}
		if err := a.receipt.Wait(); err != nil {
			WriteError(w, unavailable(err))
			return
		}
		d.misbehave(r, first)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(a.status)
		w.Write(a.reply)
	})
}

// once returns the answer of the key, and the decision if it was made now.
func (d *Desk) once(key, request string, decide func() (Decision, error)) (*answer, Decision, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if a := d.answers[key]; a != nil {
		if a.request != request {
			return nil, Decision{}, Refuse(http.StatusUnprocessableEntity, "KEY_REUSED",
				"this Idempotency-Key came with another request before")
		}
		return a, Decision{}, nil
	}
	if err := d.ledger.Err(); err != nil {
		return nil, Decision{}, unavailable(err)
	}
	dec, err := decide()
	if err != nil {
		return nil, Decision{}, err
	}
	a, err := d.book(key, request, dec.Entry)
	return a, dec, err
}

// book applies an entry, puts it in line for the disk and has its webhooks
// follow it.
func (d *Desk) book(key, request string, e ledger.Entry) (*answer, error) {
	e.Key, e.Request = key, request
	if e.Time.IsZero() {
		e.Time = time.Now().UTC()
	}
	d.books.Apply(e)
	reply, err := json.Marshal(d.books.Reply(e))
	if err != nil {
		return nil, fmt.Errorf("encode the reply: %w", err)
	}
	e.Reply = reply
	receipt := d.ledger.Append(e)
	a := &answer{request: request, status: e.Status, reply: reply, receipt: receipt}
	d.answers[key] = a
	send, revoke := d.books.Notices(e)
	for _, ev := range send {
		d.sender.Add(ev, receipt.Wait)
	}
	for _, id := range revoke {
		d.sender.Revoke(id)
	}
	return a, nil
}

// misbehave delays the first answer to a key, or gives none at all.
func (d *Desk) misbehave(r *http.Request, first Decision) {
	delay := first.Delay
	if first.Hang {
		delay = hangFor
	}
	if delay == 0 {
		return
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	case <-d.stop:
	}
	if first.Hang {
		panic(http.ErrAbortHandler)
	}
}

// decode reads a keyed JSON request strictly.
func decode[T any](w http.ResponseWriter, r *http.Request) ([]byte, T, error) {
	var req T
	if key := r.Header.Get("Idempotency-Key"); key == "" || len(key) > maxKey {
		return nil, req, Refuse(http.StatusBadRequest, "KEY_REQUIRED",
			"an Idempotency-Key of 1 to %d bytes is required", maxKey)
	}
	body, err := readJSON(w, r, &req)
	return body, req, err
}

// readJSON reads a body of type application/json, which a page of another
// origin cannot send without being asked first.
func readJSON(w http.ResponseWriter, r *http.Request, into any) ([]byte, error) {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return nil, Refuse(http.StatusUnsupportedMediaType, "NOT_JSON", "send application/json")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLong := (*http.MaxBytesError)(nil); errors.As(err, &tooLong) {
		return nil, Refuse(http.StatusRequestEntityTooLarge, "TOO_LARGE", "at most %d bytes", maxBody)
	} else if err != nil {
		return nil, Refuse(http.StatusBadRequest, "BAD_REQUEST", "the body broke off")
	}
	if len(body) == 0 {
		body = []byte("{}")
	}
	dec := json.NewDecoder(strings.NewReader(string(body)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return nil, Refuse(http.StatusBadRequest, "BAD_REQUEST", "%v", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, Refuse(http.StatusBadRequest, "BAD_REQUEST", "something follows the JSON value")
	}
	return body, nil
}

// fingerprint tells requests apart that came with one key.
func fingerprint(r *http.Request, body []byte) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s %s\n", r.Method, r.URL.EscapedPath())
	h.Write(body)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

func unavailable(err error) error {
	return Refuse(http.StatusServiceUnavailable, "LEDGER_BROKEN", "nothing can be booked: %v", err)
}

// WriteJSON answers with a value.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

// WriteError answers with a [Refusal], or 500 for any other error.
func WriteError(w http.ResponseWriter, err error) {
	refusal := (*Refusal)(nil)
	if !errors.As(err, &refusal) {
		refusal = &Refusal{Status: http.StatusInternalServerError, Code: "INTERNAL", Message: err.Error()}
	}
	WriteJSON(w, refusal.Status, refusal)
}
