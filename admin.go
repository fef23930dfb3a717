package argosy

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/pprof"
	"time"
)

// adminHandler serves what operators and orchestrators ask for.
func (f *Fleet) adminHandler() (http.Handler, error) {
	operations, err := f.operations()
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/services", operations)
	mux.Handle("/services/", operations)
	mux.Handle("GET /guards", newOperators(f.set.AdminToken, f.tel.Logger("admin"), http.HandlerFunc(f.listGuards)))
	mux.Handle("GET /endpoints", newOperators(f.set.AdminToken, f.tel.Logger("admin"), http.HandlerFunc(f.listEndpoints)))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, health{Status: "ok"}) // whoever can answer lives
	})
	mux.HandleFunc("GET /readyz", f.readyz)
	mux.Handle("GET /metrics", f.tel.Handler())
	if f.set.Dev {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return mux, nil
}

type health struct {
	Status string `json:"status"`
	Reason string `json:"reason,omitempty"`
}

// probeTimeout bounds the publish that readiness asks of an embedded broker.
const probeTimeout = 2 * time.Second

// readyz looks at this process and at nothing that is shared: one hiccup of a
// database must not take every replica out. The embedded broker is part of the
// process, so it is asked to store a message.
func (f *Fleet) readyz(w http.ResponseWriter, r *http.Request) {
	if !f.ready.Load() {
		answer(w, http.StatusServiceUnavailable, health{"not ready", "starting or draining"})
		return
	}
	if b, ok := f.broker.(interface{ InProcess() bool }); ok && b.InProcess() {
		ctx, cancel := context.WithTimeout(r.Context(), probeTimeout)
		defer cancel()
		if err := f.broker.Probe(ctx); err != nil {
			answer(w, http.StatusServiceUnavailable, health{"not ready", "broker: " + err.Error()})
			return
		}
	}
	answer(w, http.StatusOK, health{Status: "ready"})
}

func answer(w http.ResponseWriter, code int, h health) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(h) // the prober may be gone; nobody is left to tell
}
