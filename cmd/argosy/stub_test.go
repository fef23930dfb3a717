package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/service"
)

// stub is a service whose operators' API answers from memory, with the same
// values every time: for what is printed. What the mechanisms really answer is
// tested by the scripts under testdata/real.
type stub struct {
	name    string
	mu      sync.Mutex
	letters []map[string]any
	runs    []map[string]any
	// asked is what was changed, as actor, path and body.
	asked []string
}

// at is when everything in a stub happened.
var at = time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC)

// newStub returns a stub with n dead letters and its three runs of the saga.
func newStub(name string, n int, saga string) *stub {
	s := &stub{name: name}
	for i := range n {
		s.letters = append(s.letters, map[string]any{
			"id": fmt.Sprintf("%s-%03d", name, i+1), "consumer": name + "/shop.order.v1.OrderPlaced", "type": "shop.order.v1.OrderPlaced",
			"key": strconv.Itoa(i % 3), "topic": "shop.order.v1", "attempts": 5, "at": at.Add(time.Duration(i) * time.Second),
			"code": "FAILED_PRECONDITION", "reason": "NO_SUCH_PRODUCT", "message": "product 17 is not sold any more, and was not at the time of the order",
		})
	}
	for i, state := range []string{"parked", "running", "completed"} {
		r := map[string]any{
			"id": fmt.Sprintf("%s-%s-%d", name, saga, i+1), "saga": saga, "state": state, "step": "charge", "attempts": 3, "holder": "host-1", "epoch": 2,
			"createdAt": at, "updatedAt": at.Add(time.Minute), "error": "",
		}
		switch state {
		case "parked":
			r["error"] = "payment: FAILED_PRECONDITION: the bank knows no such card"
		case "running":
			r["nextAt"] = at.Add(time.Hour)
		}
		s.runs = append(s.runs, r)
	}
	return s
}

// service returns the stub as a service of a program.
func (s *stub) service() argosy.Service {
	return argosy.Service{Name: s.name, Setup: func(setup *argosy.Setup) error {
		setup.Declare(service.Edge{Kind: service.Consumes, Name: "shop.order.v1", Message: "shop.order.v1.OrderPlaced"})
		for _, r := range s.runs {
			setup.Declare(service.Edge{Kind: service.RunsSaga, Name: r["saga"].(string)})
		}
		for pattern, h := range map[string]func(r *http.Request) (any, error){
			"GET /events":                       s.events,
			"GET /dead-letters":                 s.list,
			"GET /dead-letters/{id}":            s.letter,
			"POST /dead-letters/replay":         s.change("replayed"),
			"POST /dead-letters/discard":        s.change("discarded"),
			"POST /consumers/{name}/replay":     s.replay,
			"GET /sagas":                        s.sagas,
			"GET /sagas/{saga}/runs/{id}":       s.run,
			"POST /sagas/{saga}/runs/{id}/{do}": s.move,
		} {
			setup.Admin(pattern, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				s.mu.Lock()
				defer s.mu.Unlock()
				answer, err := h(r)
				if err != nil {
					fault.WriteHTTP(w, err)
					return
				}
				w.Header().Set("Content-Type", "application/json")
				if err := json.NewEncoder(w).Encode(answer); err != nil {
					panic(err)
				}
			}))
		}
		return nil
	}}
}

func (s *stub) events(*http.Request) (any, error) {
	return map[string]any{
		"outbox": 2, "oldestSeconds": 1.25, "pending": 7, "deadLetters": len(s.letters),
		"consumers": []map[string]any{{"name": s.name + "/shop.order.v1.OrderPlaced", "message": "shop.order.v1.OrderPlaced", "topic": "shop.order.v1", "holder": "host-1"}},
	}, nil
}

// paged returns a page of what fits, and the cursor of the next.
func paged(all []map[string]any, r *http.Request, names ...string) ([]map[string]any, string) {
	q := r.URL.Query()
	fit := slices.DeleteFunc(slices.Clone(all), func(m map[string]any) bool {
		return slices.ContainsFunc(names, func(n string) bool { return q.Get(n) != "" && q.Get(n) != m[n] })
	})
	from, _ := strconv.Atoi(q.Get("after"))
	limit, _ := strconv.Atoi(q.Get("limit"))
	if end := from + limit; end <= len(fit) { // there may be more
		return fit[from:end], strconv.Itoa(end)
	}
	return fit[from:], ""
}

func (s *stub) list(r *http.Request) (any, error) {
	page, next := paged(s.letters, r, "consumer", "type", "key")
	return map[string]any{"deadLetters": page, "next": next}, nil
}

func (s *stub) letter(r *http.Request) (any, error) {
	for _, l := range s.letters {
		if l["id"] == r.PathValue("id") {
			full := map[string]any{
				"headers": map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "evil": "\x1b]0;owned\x07"},
				"body":    map[string]any{"id": "17", "note": "\u202egnp.exe\x1b[2J", "card": "[redacted]"},
			}
			for k, v := range l {
				full[k] = v
			}
			return full, nil
		}
	}
	return nil, fault.New(codes.NotFound, "NO_SUCH_DEAD_LETTER", "there is no dead letter %s", r.PathValue("id"))
}

// note keeps what was asked, and decodes its body.
func (s *stub) note(r *http.Request, body any) error {
	if err := json.NewDecoder(r.Body).Decode(body); err != nil {
		return fault.Invalid("body", "%v", err)
	}
	b, err := json.Marshal(body)
	s.asked = append(s.asked, fmt.Sprintf("%s %s %s", r.Header.Get("Argosy-Actor"), r.URL.EscapedPath(), b))
	return err
}

func (s *stub) change(done string) func(r *http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		var body struct {
			IDs    []letterName `json:"ids"`
			Reason string       `json:"reason,omitempty"`
		}
		if err := s.note(r, &body); err != nil {
			return nil, err
		}
		before := len(s.letters)
		s.letters = slices.DeleteFunc(s.letters, func(l map[string]any) bool {
			return slices.Contains(body.IDs, letterName{l["id"].(string), l["consumer"].(string)})
		})
		return map[string]int{done: before - len(s.letters)}, nil
	}
}

func (s *stub) replay(r *http.Request) (any, error) {
	var body struct {
		From   time.Time `json:"from"`
		Reason string    `json:"reason,omitempty"`
	}
	return map[string]any{}, s.note(r, &body)
}

func (s *stub) sagas(r *http.Request) (any, error) {
	page, next := paged(s.runs, r, "saga", "state")
	return map[string]any{"runs": page, "next": next}, nil
}

func (s *stub) run(r *http.Request) (any, error) {
	for _, run := range s.runs {
		if run["id"] == r.PathValue("id") && run["saga"] == r.PathValue("saga") {
			full := map[string]any{
				"data": map[string]any{"orderId": "17", "card": "[redacted]"},
				"history": []map[string]any{
					{"at": at, "what": "started", "step": "", "attempt": 0, "error": "", "actor": "", "reason": ""},
					{"at": at.Add(time.Minute), "what": "failed", "step": "charge", "attempt": 3, "error": "the bank knows no such card", "actor": "", "reason": ""},
				},
			}
			for k, v := range run {
				full[k] = v
			}
			return full, nil
		}
	}
	return nil, fault.New(codes.NotFound, "NO_SUCH_SAGA", "there is no run %s", r.PathValue("id"))
}

func (s *stub) move(r *http.Request) (any, error) {
	var body struct {
		Step   string `json:"step,omitempty"`
		Reason string `json:"reason,omitempty"`
	}
	if err := s.note(r, &body); err != nil {
		return nil, err
	}
	for _, run := range s.runs {
		if run["id"] != r.PathValue("id") {
			continue
		}
		if run["state"] == "completed" {
			e := fault.New(codes.FailedPrecondition, "SAGA_ENDED", "the saga is completed")
			e.Service = s.name
			return nil, e
		}
		run["state"] = map[string]string{"retry": "running", "skip": "running", "resume": "running", "park": "parked", "compensate": "compensating", "cancel": "compensating"}[r.PathValue("do")]
	}
	return s.run(r)
}
