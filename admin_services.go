package argosy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/service"
)

// ServiceInfo is a service of this process as GET /services lists it on the
// admin listener: its edges in the graph of the program.
type ServiceInfo struct {
	Name string `json:"name"`
	// Serves and Calls are full names of contracts.
	Serves []string `json:"serves"`
	Calls  []string `json:"calls"`
	// Publishes and Consumes are its events.
	Publishes []EventInfo `json:"publishes"`
	Consumes  []EventInfo `json:"consumes"`
	// Sagas are the names of the sagas that it runs.
	Sagas []string `json:"sagas"`
}

// EventInfo is a type of event on a topic.
type EventInfo struct {
	Topic   string `json:"topic"`
	Message string `json:"message"`
}

// infoOf returns the edges of a service, in the order of declaration.
func infoOf(s *service.Setup) ServiceInfo {
	info := ServiceInfo{Name: s.Name(), Serves: []string{}, Calls: []string{}, Publishes: []EventInfo{}, Consumes: []EventInfo{}, Sagas: []string{}}
	for _, e := range s.Edges() {
		switch e.Kind {
		case service.Serves:
			info.Serves = append(info.Serves, e.Name)
		case service.Calls:
			info.Calls = append(info.Calls, e.Name)
		case service.Publishes:
			info.Publishes = append(info.Publishes, EventInfo{e.Name, e.Message})
		case service.Consumes:
			info.Consumes = append(info.Consumes, EventInfo{e.Name, e.Message})
		case service.RunsSaga:
			info.Sagas = append(info.Sagas, e.Name)
		}
	}
	return info
}

// operations returns what operators ask of the services: the list of them, and
// what each mounted with Setup.Admin, all behind the guard.
func (f *Fleet) operations() (http.Handler, error) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /services", f.listServices)
	for _, s := range f.services {
		prefix := "/services/" + s.Name()
		for _, h := range s.AdminHandlers() {
			method, path, ok := strings.Cut(h.Pattern, " ")
			if !ok {
				method, path = "", h.Pattern
			}
			pattern := strings.TrimSpace(method + " " + prefix + strings.TrimSpace(path))
			guarded := &mounted{pattern: pattern, handler: http.StripPrefix(prefix, h.Handler), log: s.Log(), tracer: f.tel.TracerOf(s.Name()), maxBody: adminBody}
			if !strings.HasPrefix(strings.TrimSpace(path), "/") {
				return nil, fmt.Errorf("service %s: admin handler %q: its path must begin with a slash", s.Name(), h.Pattern)
			}
			if err := mount(mux, pattern, &recorded{service: s, next: guarded}); err != nil {
				return nil, fmt.Errorf("service %s: %w", s.Name(), err)
			}
		}
	}
	return newOperators(f.set.AdminToken, f.tel.Logger("admin"), f.orService(mux)), nil
}

func (f *Fleet) listServices(w http.ResponseWriter, _ *http.Request) {
	list := struct {
		Services []ServiceInfo `json:"services"`
	}{[]ServiceInfo{}}
	for _, s := range f.services {
		list.Services = append(list.Services, infoOf(s))
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(list) // the asker may be gone; nobody is left to tell
}

// orService answers by problem documents where the mux has no route, and says
// so when it is the service that is not here.
func (f *Fleet) orService(mux *http.ServeMux) http.Handler {
	known := orProblem(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/services/"), "/")
		if r.URL.Path == "/services" || f.runs(name) {
			known.ServeHTTP(w, r)
			return
		}
		var here []string
		for _, s := range f.services {
			here = append(here, s.Name())
		}
		fault.WriteHTTP(w, fault.New(codes.NotFound, "SERVICE_NOT_HERE", "service %q does not run in this process; here run: %s", name, strings.Join(here, ", ")).Refused())
	})
}

func (f *Fleet) runs(name string) bool {
	for _, s := range f.services {
		if s.Name() == name {
			return true
		}
	}
	return false
}

// recorded logs who changed what, and what came of it: a status of 0 is an
// answer that was cut off.
type recorded struct {
	service *service.Setup
	next    http.Handler
}

// ServeHTTP implements http.Handler.
func (c *recorded) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		c.next.ServeHTTP(w, r)
		return
	}
	begun, path, actor := time.Now(), r.URL.Path, r.Header.Get(actorHeader)
	seen := &statusWriter{ResponseWriter: w}
	defer func() { // also when the handler aborts
		c.service.Log().InfoContext(r.Context(), "operator's change", "actor", actor, "service", c.service.Name(),
			"method", r.Method, "path", path, "status", seen.status, "remote", r.RemoteAddr, "took", time.Since(begun))
	}()
	c.next.ServeHTTP(seen, r)
	if seen.status == 0 {
		seen.status = http.StatusOK // nothing written is a success to net/http
	}
}
