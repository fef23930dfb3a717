package consul

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// stub is a stub of a Consul agent, not Consul: no server of it can be had where
// these tests run. It speaks the part of the documented HTTP API that the adapter
// uses, and no more:
//
//	PUT /v1/agent/service/register            api-docs/agent/service#register-service
//	PUT /v1/agent/service/deregister/:id      api-docs/agent/service#deregister-service
//	PUT /v1/agent/check/update/:check         api-docs/agent/check#ttl-check-update
//	GET /v1/health/service/:name?passing      api-docs/health#list-service-instances-for-service
//
// with blocking queries as api-docs/features/blocking has them, and TTL checks
// that turn critical when they are not passed in time.
type stub struct {
	*httptest.Server
	waits chan uint64 // the index of each query that waits; what nobody reads is dropped

	mu       sync.Mutex
	index    uint64
	changed  chan struct{}
	services map[string]*entry // by id
	rewound  bool              // the index has gone back, as after a restore
}

type entry struct {
	ID, Name, Address string
	Port              int
	Check             struct {
		CheckID, TTL, Status, DeregisterCriticalServiceAfter string
	}
	passing bool
	expiry  *time.Timer
}

func startStub(t *testing.T) *stub {
	s := &stub{index: 10, changed: make(chan struct{}), services: map[string]*entry{}, waits: make(chan uint64, 100)}
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /v1/agent/service/register", s.register)
	mux.HandleFunc("PUT /v1/agent/service/deregister/{id}", s.deregister)
	mux.HandleFunc("PUT /v1/agent/check/update/{check}", s.update)
	mux.HandleFunc("GET /v1/health/service/{name}", s.health)
	s.Server = httptest.NewServer(mux)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
		s.forgetAll()
	})
	return s
}

// change is a new state; the lock is held.
func (s *stub) change() {
	s.index++
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *stub) register(w http.ResponseWriter, r *http.Request) {
	e := &entry{}
	if err := json.NewDecoder(r.Body).Decode(e); err != nil || e.ID == "" || e.Name == "" || e.Check.CheckID == "" {
		http.Error(w, "Request decode failed", http.StatusBadRequest)
		return
	}
	after, err := time.ParseDuration(e.Check.DeregisterCriticalServiceAfter)
	ttl, err2 := time.ParseDuration(e.Check.TTL)
	if err != nil || err2 != nil || after < time.Minute {
		http.Error(w, "Invalid check", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.services[e.ID]; old != nil {
		old.expiry.Stop()
	}
	e.passing = e.Check.Status == "passing"
	e.expiry = time.AfterFunc(ttl, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		e.passing = false
		s.change()
	})
	s.services[e.ID] = e
	s.change()
}

func (s *stub) deregister(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.services[r.PathValue("id")]
	if e == nil {
		http.Error(w, "Unknown service ID", http.StatusNotFound)
		return
	}
	e.expiry.Stop()
	delete(s.services, e.ID)
	s.change()
}

func (s *stub) update(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.services {
		if e.Check.CheckID != r.PathValue("check") {
			continue
		}
		ttl, err := time.ParseDuration(e.Check.TTL)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		e.expiry.Reset(ttl)
		if !e.passing {
			e.passing = true
			s.change()
		}
		return
	}
	http.Error(w, fmt.Sprintf("Unknown check ID %q", r.PathValue("check")), http.StatusNotFound)
}

func (s *stub) health(w http.ResponseWriter, r *http.Request) {
	if _, passing := r.URL.Query()["passing"]; !passing {
		http.Error(w, "the stub knows passing instances only", http.StatusBadRequest)
		return
	}
	known, _ := strconv.ParseUint(r.URL.Query().Get("index"), 10, 64)
	wait, err := time.ParseDuration(r.URL.Query().Get("wait"))
	if err != nil {
		wait = 5 * time.Minute
	}
	over := time.After(wait)
	for {
		s.mu.Lock()
		index, changed := s.index, s.changed
		rewound := s.rewound
		s.mu.Unlock()
		if known == 0 || index > known || rewound {
			break
		}
		select {
		case s.waits <- known:
		default:
		}
		select {
		case <-changed:
			continue
		case <-over:
		case <-r.Context().Done():
			return
		}
		break
	}
	s.answer(w, r.PathValue("name"))
}

func (s *stub) answer(w http.ResponseWriter, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rewound = false
	all := []any{}
	for _, e := range s.services {
		if e.Name == name && e.passing {
			all = append(all, map[string]any{
				"Node":    map[string]any{"Node": "stub", "Address": "127.0.0.1"},
				"Service": map[string]any{"ID": e.ID, "Service": e.Name, "Address": e.Address, "Port": e.Port},
				"Checks":  []any{},
			})
		}
	}
	w.Header().Set("X-Consul-Index", strconv.FormatUint(s.index, 10))
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(all) // the client is gone
}

// forgetAll loses all services, as an agent does that starts without its disk.
func (s *stub) forgetAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, e := range s.services {
		e.expiry.Stop()
		delete(s.services, id)
	}
	s.change()
}

// rewind sets the index back, as a server that was restored from a snapshot.
func (s *stub) rewind() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index, s.rewound = 1, true
	close(s.changed)
	s.changed = make(chan struct{})
}

// addr is the stub's host:port.
func (s *stub) addr() string { return strings.TrimPrefix(s.URL, "http://") }
