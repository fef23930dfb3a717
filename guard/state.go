package guard

import (
	"cmp"
	"slices"
	"time"
)

// TargetState is how the guards of a target stand.
type TargetState struct {
	// Target is the contract.
	Target string `json:"target"`
	// Budget is how many retries and hedges may be made right now.
	Budget float64 `json:"retry_budget"`
	// Methods are in the order of their names.
	Methods []MethodState `json:"methods"`
}

// MethodState is how the guard of a method stands.
type MethodState struct {
	// From is the calling service.
	From string `json:"from"`
	// Method is "/pkg.Service/Method".
	Method string `json:"method"`
	// Breaker is "closed", "open" or "half-open".
	Breaker string `json:"breaker"`
	// InFlight is how many attempts and streams are under way.
	InFlight int64 `json:"in_flight"`
	// MaxInFlight is how many there may be, and Limit how many while the other
	// side is overloaded.
	MaxInFlight int64 `json:"max_in_flight"`
	Limit       int64 `json:"limit"`
	// MaxAttempts is how often a call is tried; 1 when it may not be repeated,
	// other than after a refusal.
	MaxAttempts int `json:"max_attempts"`
	// AttemptTimeout bounds an attempt; zero: as long as the call.
	AttemptTimeout time.Duration `json:"attempt_timeout_ns,omitempty"`
	// HedgeAfter is the pause before a second attempt is made beside the first;
	// zero: never.
	HedgeAfter time.Duration `json:"hedge_after_ns,omitempty"`
}

// String returns "closed", "open" or "half-open".
func (s State) String() string {
	switch s {
	case Open:
		return "open"
	case HalfOpen:
		return "half-open"
	default:
		return "closed"
	}
}

// State tells how all guards of the target stand.
func (t *Target) State() TargetState {
	t.mu.Lock()
	guards := slices.Clone(t.guards)
	t.mu.Unlock()
	s := TargetState{Target: t.name, Budget: t.budget.left(), Methods: make([]MethodState, 0, len(guards))}
	for _, g := range guards {
		s.Methods = append(s.Methods, g.snapshot())
	}
	slices.SortFunc(s.Methods, func(a, b MethodState) int {
		return cmp.Or(cmp.Compare(a.Method, b.Method), cmp.Compare(a.From, b.From))
	})
	return s
}

func (g *Guard) snapshot() MethodState {
	s := MethodState{
		From: g.from, Method: g.method, Breaker: g.State().String(),
		InFlight: g.bulkhead.under.Load(), MaxInFlight: g.bulkhead.most, Limit: g.limit.at.Load(),
		MaxAttempts: 1, AttemptTimeout: g.c.AttemptTimeout,
	}
	if g.repeat != Once {
		s.MaxAttempts = g.c.MaxAttempts
	}
	if g.hedge != nil {
		s.HedgeAfter = g.hedge.delay()
	}
	return s
}
