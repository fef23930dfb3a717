package guard

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	"github.com/argosy-go/argosy/fault"
)

// HedgeConfig configures hedging: a call that takes longer than nearly all
// others is made once more beside the first, the first answer wins, and the
// other attempt is cancelled (Dean and Barroso, The Tail at Scale, 2013). Only
// methods that the contract declares NO_SIDE_EFFECTS are hedged, and a hedge
// takes one retry of the budget. The zero value is off.
type HedgeConfig struct {
	// On turns it on.
	On bool
	// Percentile is how many of the calls are fast enough to need no hedge,
	// 0 to 1. Zero: 0.95.
	Percentile float64
	// MinDelay is the shortest pause before the second attempt. It is also the
	// first one, before latencies are known. Zero: 10 ms.
	MinDelay time.Duration
}

func (c HedgeConfig) withDefaults() HedgeConfig {
	if c.Percentile <= 0 || c.Percentile >= 1 {
		c.Percentile = 0.95
	}
	if c.MinDelay <= 0 {
		c.MinDelay = 10 * time.Millisecond
	}
	return c
}

// quantile estimates a percentile of durations by stochastic approximation
// (Robbins and Monro, 1951): a sample above moves it up by a share of itself, a
// sample below moves it down, in the ratio that leaves it alone where the
// percentile is. A racing sample may be lost, which an estimate survives.
type quantile struct {
	p  float64
	at atomic.Uint64 // nanoseconds, as the bits of a float64
}

// quantileStep is the share by which the estimate moves at most.
const quantileStep = 0.1

func (q *quantile) add(d time.Duration) {
	old := q.at.Load()
	at := math.Float64frombits(old)
	if at == 0 {
		at = float64(d)
	} else if float64(d) > at {
		at *= 1 + quantileStep*q.p
	} else {
		at *= 1 - quantileStep*(1-q.p)
	}
	q.at.CompareAndSwap(old, math.Float64bits(at))
}

func (q *quantile) value() time.Duration { return time.Duration(math.Float64frombits(q.at.Load())) }

// hedge is what a method remembers for its hedges.
type hedge struct {
	c    HedgeConfig
	took quantile
}

func (h *hedge) delay() time.Duration { return max(h.took.value(), h.c.MinDelay) }

// Racer makes an attempt with a reply of its own, and gives the reply to the
// caller when it has won.
type Racer struct {
	// Attempt returns soon after its context has ended.
	Attempt func(ctx context.Context) error
	// Win is called at most once, for one of the racers, by the caller of Race.
	Win func()
}

// Hedged reports whether calls are hedged: then [Guard.Race] is for them.
func (g *Guard) Hedged() bool { return g.hedge != nil }

// Race is Do for a method that is hedged. It returns after all attempts have.
func (g *Guard) Race(ctx context.Context, racer func() Racer) error {
	g.t.budget.earn()
	var won func()
	try := func(ctx context.Context) error {
		r := racer()
		begun := g.t.c.Now()
		err := g.once(ctx, r.Attempt)
		if err == nil {
			g.hedge.took.add(g.t.c.Now().Sub(begun))
			won = r.Win
		}
		return err
	}
	w, err := g.race(ctx, racer)
	if err != nil {
		err = g.again(ctx, try, err)
	} else {
		won = w
	}
	if err == nil {
		won()
	}
	return err
}

// finish is how a racer ended.
type finish struct {
	win    func()
	err    error
	second bool
	panics any
}

// race makes an attempt, and one more when the first takes long. It returns
// what the winner does on winning, or the error of the attempt that ended last.
func (g *Guard) race(ctx context.Context, racer func() Racer) (func(), error) {
	ctx, cancel := context.WithCancel(ctx)
	begun := g.t.c.Now()
	ends := make(chan finish, 2)
	under := 0
	start := func(second bool) {
		under++
		r := racer()
		go func() {
			f := finish{win: r.Win, second: second, err: errEnded}
			defer func() {
				f.panics = recover()
				ends <- f
			}()
			f.err = g.once(ctx, r.Attempt)
		}()
	}
	var panics any
	take := func(f finish) finish {
		under--
		if f.panics != nil {
			panics = f.panics
		}
		return f
	}
	start(false)
	late := time.NewTimer(g.hedge.delay())
	defer late.Stop()
	var last finish
	for last.win == nil {
		select {
		case f := <-ends:
			if f = take(f); f.err == nil || under == 0 {
				last = f
			}
		case <-late.C:
			if g.t.budget.spend() {
				g.hedges.Add(1)
				start(true)
			} else {
				g.starved.Add(1)
			}
		}
	}
	cancel()
	for under > 0 {
		take(<-ends)
	}
	if panics != nil {
		panic(panics) // where the caller would have met it
	}
	if last.err != nil {
		return nil, last.err
	}
	g.hedge.took.add(g.t.c.Now().Sub(begun)) // of the call: a first attempt that lost was slow
	if last.second {
		g.hedgesWon.Add(1)
	}
	return last.win, nil
}

// errEnded is the error of an attempt that ended its goroutine.
var errEnded = fault.From(context.Canceled)
