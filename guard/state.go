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
	// Breaker is how the circuit breaker stands.
	Breaker BreakerState `json:"breaker"`
	// InFlight is how many attempts and streams are under way.
	InFlight int64 `json:"in_flight"`
	// MaxInFlight is how many there may be, and BulkheadRefused how many calls
	// were refused for it.
	MaxInFlight     int64  `json:"max_in_flight"`
	BulkheadRefused uint64 `json:"bulkhead_refused"`
	// Limit is how many there may be while the other side is overloaded, and
	// LimitRefused how many calls were refused for it.
	Limit        int64  `json:"limit"`
	LimitRefused uint64 `json:"limit_refused"`
	// MaxAttempts is how often a call is tried; 1 when it may not be repeated,
	// other than after a refusal.
	MaxAttempts int `json:"max_attempts"`
	// Retries counts the attempts after the first, and OverBudget the retries
	// and hedges that the budget did not allow.
	Retries    uint64 `json:"retries"`
	OverBudget uint64 `json:"retries_over_budget"`
	// AttemptTimeout bounds an attempt; zero: as long as the call.
	AttemptTimeout time.Duration `json:"attempt_timeout_ns,omitempty"`
	// HedgeAfter is the pause before a second attempt is made beside the first;
	// zero: never.
	HedgeAfter time.Duration `json:"hedge_after_ns,omitempty"`
	// Hedges counts those, and HedgesWon the ones that answered first.
	Hedges    uint64 `json:"hedges"`
	HedgesWon uint64 `json:"hedges_won"`

	state State // of the breaker
}

// BreakerState is how a circuit breaker stands.
type BreakerState struct {
	// State is "closed", "open" or "half-open".
	State string `json:"state"`
	// Refused counts the calls that it refused.
	Refused uint64 `json:"refused"`
	// Times is how often it has opened.
	Times uint64 `json:"opened_times"`
	// Opened is how it came to open the last time. Nil: it never did.
	Opened *Opening `json:"last_opened,omitempty"`
}

// Opening is how a breaker came to open.
type Opening struct {
	// At is when, and Until when the first call probes.
	At    time.Time `json:"at"`
	Until time.Time `json:"until"`
	// Calls is how many calls were judged, those of the window or the probes,
	// and Failures how many of them had failed.
	Calls    int `json:"calls"`
	Failures int `json:"failures"`
	// Code, Reason and Service are of the last failure; Service is who raised
	// it, empty when nobody answered.
	Code    string `json:"code"`
	Reason  string `json:"reason,omitempty"`
	Service string `json:"service,omitempty"`
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
	guards := t.all()
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
		From: g.from, Method: g.method,
		InFlight: g.bulkhead.under.Load(), MaxInFlight: g.bulkhead.most, BulkheadRefused: g.bulkhead.refused.Load(),
		Limit: g.limit.at.Load(), LimitRefused: g.limit.refused.Load(),
		MaxAttempts: 1, Retries: g.retries.Load(), OverBudget: g.starved.Load(), AttemptTimeout: g.c.AttemptTimeout,
		Hedges: g.hedges.Load(), HedgesWon: g.hedgesWon.Load(),
	}
	s.Breaker, s.state = g.breaker.snapshot()
	if g.repeat != Once {
		s.MaxAttempts = g.c.MaxAttempts
	}
	if g.hedge != nil {
		s.HedgeAfter = g.hedge.delay()
	}
	return s
}

func (b *breaker) snapshot() (BreakerState, State) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := BreakerState{State: b.state.String(), Refused: b.refused.Load(), Times: b.trips[Open]}
	if s.Times > 0 {
		opened := b.opened
		s.Opened = &opened
	}
	return s, b.state
}

// transitions returns how often each state was entered.
func (b *breaker) transitions() [HalfOpen + 1]uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.trips
}
