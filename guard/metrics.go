package guard

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/argosy-go/argosy/telemetry"
)

// observe registers the metrics of a target. They are the numbers that the
// guards keep anyway, read when somebody asks.
func (t *Target) observe(r prometheus.Registerer) {
	each := func(name, help string, kind prometheus.ValueType, value func(MethodState) float64) {
		m := telemetry.Metric{Name: name, Help: help, Labels: []string{"service", "method"}, Kind: kind}
		telemetry.Observe(r, m, func(give func(float64, ...string)) {
			for _, s := range t.State().Methods {
				give(value(s), s.From, s.Method)
			}
		})
	}
	counter := func(name, help string, value func(MethodState) uint64) {
		each(name, help, prometheus.CounterValue, func(s MethodState) float64 { return float64(value(s)) })
	}
	gauge := func(name, help string, value func(MethodState) int64) {
		each(name, help, prometheus.GaugeValue, func(s MethodState) float64 { return float64(value(s)) })
	}
	counter("argosy_guard_retries_total", "Attempts after the first.", func(s MethodState) uint64 { return s.Retries })
	counter("argosy_guard_retries_over_budget_total", "Retries and hedges that the budget did not allow.", func(s MethodState) uint64 { return s.OverBudget })
	counter("argosy_guard_hedges_total", "Second attempts beside a slow first one.", func(s MethodState) uint64 { return s.Hedges })
	counter("argosy_guard_hedges_won_total", "Second attempts that answered first.", func(s MethodState) uint64 { return s.HedgesWon })
	counter("argosy_guard_breaker_refused_total", "Calls that an open breaker refused.", func(s MethodState) uint64 { return s.Breaker.Refused })
	counter("argosy_guard_bulkhead_refused_total", "Calls refused because too many were under way.", func(s MethodState) uint64 { return s.BulkheadRefused })
	counter("argosy_guard_limit_refused_total", "Calls refused because the other side is overloaded.", func(s MethodState) uint64 { return s.LimitRefused })
	gauge("argosy_guard_breaker_state", "0 closed, 1 open, 2 half-open.", func(s MethodState) int64 { return int64(s.state) })
	gauge("argosy_guard_limit", "Attempts that may be under way.", func(s MethodState) int64 { return s.Limit })
	gauge("argosy_guard_in_flight", "Attempts and streams under way.", func(s MethodState) int64 { return s.InFlight })
	t.observeBreakers(r)
	budget := telemetry.Metric{Name: "argosy_guard_retry_budget", Help: "Retries and hedges that may be made right now.", Labels: []string{"service", "target"}, Kind: prometheus.GaugeValue}
	telemetry.Observe(r, budget, func(give func(float64, ...string)) {
		s := t.State()
		if len(s.Methods) > 0 {
			give(s.Budget, s.Methods[0].From, s.Target)
		}
	})
}

// observeBreakers registers how often breakers changed their state.
func (t *Target) observeBreakers(r prometheus.Registerer) {
	m := telemetry.Metric{Name: "argosy_guard_breaker_transitions_total", Help: "Changes of breakers, by the state after them.", Labels: []string{"service", "method", "to"}, Kind: prometheus.CounterValue}
	telemetry.Observe(r, m, func(give func(float64, ...string)) {
		for _, g := range t.all() {
			trips := g.breaker.transitions()
			for s, n := range trips {
				give(float64(n), g.from, g.method, State(s).String())
			}
		}
	})
}

// all returns the guards of the target.
func (t *Target) all() []*Guard {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.guards)
}
