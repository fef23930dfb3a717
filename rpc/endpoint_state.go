package rpc

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/connectivity"

	"github.com/argosy-go/argosy/telemetry"
)

// Endpoints tells how the endpoints of a connection stand, for operators: give
// it to [Dial]. Looking costs the calls nothing. Safe for concurrent use.
type Endpoints struct {
	from, target string
	balance      atomic.Pointer[balance] // nil: not connected, or resting
	// These survive the balancer, which ends when a connection rests.
	ejections, connects, failures atomic.Uint64
}

// NewEndpoints returns an Endpoints for one connection, over which service from
// calls the service target. Its metrics are registered with r; nil: none are.
func NewEndpoints(from, target string, r prometheus.Registerer) *Endpoints {
	e := &Endpoints{from: from, target: target}
	labels := []string{"service", "target"}
	counter := func(name, help string, n *atomic.Uint64) {
		telemetry.Observe(r, telemetry.Metric{Name: name, Help: help, Labels: labels, Kind: prometheus.CounterValue},
			func(give func(float64, ...string)) { give(float64(n.Load()), from, target) })
	}
	counter("argosy_endpoint_ejections_total", "Endpoints that were ejected because they failed.", &e.ejections)
	counter("argosy_endpoint_connects_total", "Connections that were made to endpoints.", &e.connects)
	counter("argosy_endpoint_connect_failures_total", "Attempts to connect to an endpoint that failed.", &e.failures)
	telemetry.Observe(r, telemetry.Metric{Name: "argosy_endpoints", Help: "Endpoints, by how they stand.", Labels: append(labels, "state"), Kind: prometheus.GaugeValue},
		func(give func(float64, ...string)) {
			count := map[string]int{EndpointReady: 0, EndpointEjected: 0, EndpointConnecting: 0, EndpointFailed: 0}
			for _, p := range e.State().Endpoints {
				count[p.State]++
			}
			for state, n := range count {
				give(float64(n), from, target, state)
			}
		})
	return e
}

// How an endpoint stands.
const (
	EndpointReady      = "ready"      // it takes calls
	EndpointEjected    = "ejected"    // it is connected, failed, and takes none
	EndpointConnecting = "connecting" // nobody knows yet
	EndpointFailed     = "failed"     // it could not be reached, and is tried again
)

// EndpointsState is how the endpoints of a connection stand.
type EndpointsState struct {
	// From is the calling service, Target the one that is called.
	From   string `json:"from"`
	Target string `json:"target"`
	// Policy is how an endpoint is chosen: [LeastRequest] or [RoundRobin];
	// empty before the first call.
	Policy string `json:"policy,omitempty"`
	// Known is how many endpoints the discovery knows, of which Endpoints are
	// those that this connection uses.
	Known int `json:"known"`
	// Error is the last one of the discovery or of a connection, while no
	// endpoint is ready.
	Error string `json:"error,omitempty"`
	// Ejections, Connects and ConnectFailures are counted since the start.
	Ejections       uint64 `json:"ejections"`
	Connects        uint64 `json:"connects"`
	ConnectFailures uint64 `json:"connect_failures"`
	// Endpoints are in the order of their addresses.
	Endpoints []EndpointState `json:"endpoints"`
}

// EndpointState is how an endpoint stands.
type EndpointState struct {
	Address string `json:"address"`
	// State is one of the constants, as in [EndpointReady].
	State string `json:"state"`
	// Since is when it began to take calls: when it was connected, or came back
	// from an ejection. Its share grows from there. Zero: it never did.
	Since time.Time `json:"since,omitzero"`
	// EjectedUntil is when it comes back. Zero: it is not ejected.
	EjectedUntil time.Time `json:"ejected_until,omitzero"`
	// Ejections is how often it was ejected since it was last connected, or
	// sound for long: each lasts twice as long as the one before.
	Ejections int `json:"ejections"`
	// FailuresInRow is how many of its calls failed one after the other.
	FailuresInRow int32 `json:"failures_in_row"`
	// InFlight is how many of its calls are under way, and Picks how many it was
	// given since it was first known.
	InFlight uint32 `json:"in_flight"`
	Picks    uint64 `json:"picks"`
}

// State tells how the endpoints stand. Endpoints is empty before the first
// call, and when no call was made for half an hour: the connection rests.
func (e *Endpoints) State() EndpointsState {
	s := EndpointsState{
		From: e.from, Target: e.target, Endpoints: []EndpointState{},
		Ejections: e.ejections.Load(), Connects: e.connects.Load(), ConnectFailures: e.failures.Load(),
	}
	b := e.balance.Load()
	if b == nil {
		return s
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s.Policy, s.Known = b.c.Policy, b.known
	if b.err != nil && !b.anyReady() {
		s.Error = b.err.Error()
	}
	for _, p := range b.places {
		s.Endpoints = append(s.Endpoints, p.snapshot())
	}
	slices.SortFunc(s.Endpoints, func(a, b EndpointState) int { return cmp.Compare(a.Address, b.Address) })
	return s
}

// snapshot tells how an endpoint stands; the balancer's lock is held.
func (p *place) snapshot() EndpointState {
	s := EndpointState{
		Address: p.addr, State: EndpointConnecting, Since: p.since, Ejections: p.times,
		FailuresInRow: p.failures.Load(), InFlight: p.calls.under(), Picks: p.calls.picks(),
	}
	switch {
	case p.state == connectivity.Ready && p.ejected:
		s.State, s.EjectedUntil = EndpointEjected, p.until
	case p.state == connectivity.Ready:
		s.State = EndpointReady
	case p.failed:
		s.State = EndpointFailed
	}
	return s
}

// tally counts the calls of an endpoint that are under way, in its lower bits,
// and all that it was ever given, above them: one addition for both.
type tally struct{ both atomic.Uint64 }

// tallyBits is how many bits the calls under way have; the others last for a
// trillion calls, and then begin anew.
const tallyBits = 24

func (t *tally) pick()         { t.both.Add(1<<tallyBits | 1) }
func (t *tally) end()          { t.both.Add(^uint64(0)) }
func (t *tally) under() uint32 { return uint32(t.both.Load() & (1<<tallyBits - 1)) }
func (t *tally) picks() uint64 { return t.both.Load() >> tallyBits }
