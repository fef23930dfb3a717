package rpc

import (
	"cmp"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/argosy-go/argosy/guard"
	"github.com/argosy-go/argosy/telemetry"
)

// ClientState is how the policies of a [Client] stand.
type ClientState struct {
	// Target is the contract, and Service who serves it; empty where the program
	// does not know.
	Target  string `json:"target"`
	Service string `json:"service,omitempty"`
	// Budget is how many retries and hedges may be made right now.
	Budget float64 `json:"retry_budget"`
	// Methods are in the order of their names.
	Methods []CallState `json:"methods"`
}

// CallState is how the policies of a method stand.
type CallState struct {
	guard.MethodState
	// Deadline bounds a call; zero: nothing does.
	Deadline time.Duration `json:"deadline_ns,omitempty"`
	// Fallback: another answer is given in place of a failure; Fallbacks counts
	// those answers.
	Fallback  bool   `json:"fallback"`
	Fallbacks uint64 `json:"fallbacks"`
}

// Guards tells how the policies of all methods stand.
func (c *Client) Guards() ClientState {
	t := c.target.State()
	s := ClientState{Target: t.Target, Budget: t.Budget, Methods: make([]CallState, 0, len(t.Methods))}
	for _, g := range t.Methods {
		m := c.methods[g.Method]
		call := CallState{MethodState: g, Deadline: m.Deadline, Fallback: m.fallback != nil}
		if m.fallback != nil {
			call.Fallbacks = m.fallback.taken.Load()
		}
		s.Methods = append(s.Methods, call)
	}
	return s
}

// observe registers the metrics of a client beside those of its guards.
func (c *Client) observe(r prometheus.Registerer) {
	telemetry.Observe(r, telemetry.Metric{
		Name: "argosy_guard_fallbacks_total", Help: "Calls that a fallback answered.",
		Labels: []string{"service", "method"}, Kind: prometheus.CounterValue,
	}, func(give func(float64, ...string)) {
		for name, m := range c.methods {
			if m.fallback != nil {
				give(float64(m.fallback.taken.Load()), c.c.From, name)
			}
		}
	})
}

// ServerState is how a [Server] stands.
type ServerState struct {
	// InFlight is how many calls from outside are worked on, MaxInFlight how
	// many can be.
	InFlight    int64 `json:"in_flight"`
	MaxInFlight int64 `json:"max_in_flight"`
	// Shed counts the calls that were refused because of MaxInFlight, by
	// criticality.
	Shed map[string]uint64 `json:"shed,omitempty"`
	// Floods counts the connections that were closed because they reset calls
	// in masses.
	Floods uint64 `json:"floods"`
	// Draining: no new streams are served.
	Draining bool `json:"draining"`
	// Quota is how the quota stands that callers have, and Quotas how those
	// stand that kinds of callers have instead.
	Quota  guard.RateState            `json:"quota"`
	Quotas map[string]guard.RateState `json:"quotas,omitempty"`
	// OverQuota counts the calls refused for a quota, by the kind of caller.
	OverQuota map[string]uint64 `json:"over_quota,omitempty"`
	// Methods are the unary methods, by name.
	Methods []MethodState `json:"methods"`
}

// MethodState is how the limit of a method stands.
type MethodState struct {
	Service string `json:"service"`
	Method  string `json:"method"`
	guard.ShedState
}

// Snapshot tells how the guards of the server stand, for operators.
func (s *Server) Snapshot() ServerState {
	st := ServerState{
		InFlight: s.gate.inFlight.Load(), MaxInFlight: s.gate.most, Floods: s.floods.Load(),
		Draining: s.draining.Err() != nil, Quota: s.quotas.all.State(),
		OverQuota: s.quotas.refusals(),
	}
	for worth := range s.gate.shed {
		if n := s.gate.shed[worth].Load(); n > 0 {
			if st.Shed == nil {
				st.Shed = map[string]uint64{}
			}
			st.Shed[guard.Criticality(worth).String()] = n
		}
	}
	for kind, r := range s.quotas.kinds {
		if st.Quotas == nil {
			st.Quotas = map[string]guard.RateState{}
		}
		st.Quotas[kind] = r.State()
	}
	for _, h := range s.handlers {
		if h.stream == nil {
			st.Methods = append(st.Methods, MethodState{Service: h.owner, Method: h.FullName, ShedState: h.shedder.State()})
		}
	}
	slices.SortFunc(st.Methods, func(a, b MethodState) int { return cmp.Compare(a.Method, b.Method) })
	return st
}

// observe registers the metrics of what guards the server. They are the numbers
// that it keeps anyway, read when somebody asks.
func (s *Server) observe(r prometheus.Registerer) {
	counter := func(name, help string, read func(give func(float64, ...string)), labels ...string) {
		telemetry.Observe(r, telemetry.Metric{Name: name, Help: help, Labels: labels, Kind: prometheus.CounterValue}, read)
	}
	gauge := func(name, help string, value func(guard.ShedState) int64) {
		m := telemetry.Metric{Name: name, Help: help, Labels: []string{"service", "method"}, Kind: prometheus.GaugeValue}
		telemetry.Observe(r, m, func(give func(float64, ...string)) {
			for _, h := range s.handlers {
				if h.stream == nil {
					give(float64(value(h.shedder.State())), h.owner, h.FullName)
				}
			}
		})
	}
	gauge("argosy_rpc_server_limit", "Calls of a method that may be worked on at once.", func(s guard.ShedState) int64 { return s.Limit })
	gauge("argosy_rpc_server_in_flight", "Calls of a method from outside that are worked on.", func(s guard.ShedState) int64 { return s.InFlight })
	counter("argosy_rpc_server_shed_total", "Calls refused because of the limit of their method.", func(give func(float64, ...string)) {
		for _, h := range s.handlers {
			if h.stream != nil {
				continue
			}
			shed := h.shedder.State().Shed
			for worth := range s.gate.shed {
				name := guard.Criticality(worth).String()
				give(float64(shed[name]), h.owner, h.FullName, name)
			}
		}
	}, "service", "method", "criticality")
	counter("argosy_rpc_server_full_total", "Calls refused because of --max-in-flight.", func(give func(float64, ...string)) {
		for worth := range s.gate.shed {
			give(float64(s.gate.shed[worth].Load()), guard.Criticality(worth).String())
		}
	}, "criticality")
	counter("argosy_rpc_server_over_quota_total", "Calls refused because of a quota, by the kind of caller.", func(give func(float64, ...string)) {
		for kind, n := range s.quotas.refusals() {
			give(float64(n), kind)
		}
	}, "caller")
	counter("argosy_rpc_server_floods_total", "Connections closed because they reset calls in masses.", func(give func(float64, ...string)) {
		give(float64(s.floods.Load()))
	})
}
