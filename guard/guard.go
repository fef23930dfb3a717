package guard

import (
	"cmp"
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config configures the policies of a target. The zero value is right for most.
type Config struct {
	// MaxAttempts bounds the attempts of one call, the first included. Zero: 3.
	MaxAttempts int
	// FirstPause is the longest pause before the second attempt; it doubles
	// from there up to MaxPause, and a random part of it is taken (full
	// jitter). Zero: 20 ms, and 1 s for MaxPause.
	FirstPause, MaxPause time.Duration
	// RetryShare is how many retries a target gets for each call. Zero: 0.1.
	RetryShare float64
	// AttemptTimeout bounds each attempt, so that one that hangs leaves time for
	// another. Zero: an attempt may take as long as the call.
	AttemptTimeout time.Duration
	// MaxInFlight bounds the attempts and streams of one method that are under
	// way. Zero: 1000.
	MaxInFlight int
	// MinLimit is how many may be under way however often the other side says
	// that it is overloaded. Zero: 32.
	MinLimit int
	// Hedge configures hedging. Zero: off.
	Hedge HedgeConfig
	// Breaker configures the circuit breakers.
	Breaker BreakerConfig
	// Methods are what differs for single methods, by the name of the method
	// alone, as in "Reserve".
	Methods map[string]MethodConfig
	// Override has the last word on what holds for a method
	// ("/pkg.Service/Method"): it changes the configuration in place, which has
	// all defaults. Nil: nothing is changed.
	Override func(method string, c *Config)
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
	// Registry receives the metrics. Nil: none.
	Registry prometheus.Registerer
}

// Defaults returns what the zero Config stands for.
func Defaults() Config { return Config{}.withDefaults() }

func (c Config) withDefaults() Config {
	if c.MaxAttempts <= 0 {
		c.MaxAttempts = 3
	}
	if c.FirstPause <= 0 {
		c.FirstPause = 20 * time.Millisecond
	}
	if c.MaxPause <= 0 {
		c.MaxPause = time.Second
	}
	if c.RetryShare <= 0 {
		c.RetryShare = 0.1
	}
	if c.MaxInFlight <= 0 {
		c.MaxInFlight = 1000
	}
	if c.MinLimit <= 0 {
		c.MinLimit = 32
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Breaker = c.Breaker.withDefaults()
	c.Hedge = c.Hedge.withDefaults()
	return c
}

// MethodConfig is what differs for a method. The zero value of a field is that
// of [Config].
type MethodConfig struct {
	// MaxAttempts: see [Config].
	MaxAttempts int
	// AttemptTimeout: see [Config].
	AttemptTimeout time.Duration
	// MaxInFlight and MinLimit: see [Config].
	MaxInFlight, MinLimit int
	// Hedge: see [Config]. It is taken when it is on.
	Hedge HedgeConfig
}

// of returns the configuration of a method ("/pkg.Service/Method").
func (c Config) of(method string) Config {
	if m, ok := c.Methods[method[strings.LastIndexByte(method, '/')+1:]]; ok {
		c.MaxAttempts = cmp.Or(m.MaxAttempts, c.MaxAttempts)
		c.AttemptTimeout = cmp.Or(m.AttemptTimeout, c.AttemptTimeout)
		c.MaxInFlight = cmp.Or(m.MaxInFlight, c.MaxInFlight)
		c.MinLimit = cmp.Or(m.MinLimit, c.MinLimit)
		if m.Hedge.On {
			c.Hedge = m.Hedge
		}
	}
	if c.Override != nil {
		c.Override(method, &c)
	}
	return c.withDefaults()
}

// Target is one contract that is called: its methods share a retry budget.
// Safe for concurrent use.
type Target struct {
	name   string
	c      Config
	budget *budget

	mu     sync.Mutex
	guards []*Guard
}

// NewTarget returns the policies for one target.
func NewTarget(name string, c Config) *Target {
	c = c.withDefaults()
	t := &Target{name: name, c: c, budget: newBudget(c.RetryShare)}
	t.observe(c.Registry)
	return t
}

// Repeat says what may be done with a call.
type Repeat uint8

const (
	// Once: a call may be sent again only when it was certainly not done.
	Once Repeat = iota
	// Repeatable: sending a call twice has the effect of sending it once.
	Repeatable
	// ReadOnly: calls have no effect, so that two may even be under way.
	ReadOnly
)

// Method returns the guard of a method ("/pkg.Service/Method") as the service
// called from calls it.
func (t *Target) Method(from, method string, repeat Repeat) *Guard {
	c := t.c.of(method)
	g := &Guard{
		t: t, c: c, from: from, method: method, repeat: repeat,
		breaker: newBreaker(c.Breaker, c.Now), limit: newLimit(int64(c.MinLimit), int64(c.MaxInFlight)),
	}
	g.bulkhead.most = int64(c.MaxInFlight)
	if c.Hedge.On && repeat == ReadOnly {
		g.hedge = &hedge{c: c.Hedge, took: quantile{p: c.Hedge.Percentile}}
	}
	t.mu.Lock()
	t.guards = append(t.guards, g)
	t.mu.Unlock()
	return g
}

// Guard is the policies of one method. Safe for concurrent use.
type Guard struct {
	t            *Target
	c            Config
	from, method string
	repeat       Repeat

	bulkhead bulkhead
	breaker  *breaker
	limit    *limit
	hedge    *hedge // nil: off

	retries, starved, hedges, hedgesWon atomic.Uint64 // how many there were
}

// Do runs attempt under the policies and returns the error of the last one.
func (g *Guard) Do(ctx context.Context, attempt func(ctx context.Context) error) error {
	g.t.budget.earn()
	err := g.once(ctx, attempt)
	if err == nil {
		return nil
	}
	return g.again(ctx, func(ctx context.Context) error { return g.once(ctx, attempt) }, err)
}

// passage is an attempt that was let through.
type passage struct {
	under      int64  // how many are under way with it
	generation uint64 // of the breaker
	round      uint64 // of the limit
}

// admit asks all policies at once, and gives back what it took when one refuses.
func (g *Guard) admit() (p passage, err error) {
	if p.under, err = g.bulkhead.enter(); err != nil {
		return p, err
	}
	if p.generation, err = g.breaker.allow(); err != nil {
		g.bulkhead.leave()
		return p, err
	}
	if p.round, err = g.limit.allow(p.under); err != nil {
		g.breaker.done(p.generation, nothing, nil)
		g.bulkhead.leave()
	}
	return p, err
}

// leave tells all policies how an attempt ended.
func (g *Guard) leave(p passage, o outcome, err error) {
	g.breaker.done(p.generation, o, err)
	g.limit.done(p.round, p.under, o == healthy, overloaded(o, err))
	g.bulkhead.leave()
}

// once makes one attempt, if the policies let it.
func (g *Guard) once(ctx context.Context, attempt func(ctx context.Context) error) error {
	p, err := g.admit()
	if err != nil {
		return err
	}
	ended := false
	defer func() {
		if !ended { // a panic: what it held must not be lost
			g.leave(p, nothing, nil)
		}
	}()
	if d := g.c.AttemptTimeout; d > 0 {
		err = within(ctx, d, attempt)
	} else {
		err = attempt(ctx)
	}
	ended = true
	g.leave(p, judge(ctx, err), err)
	return err
}

// State tells how the breaker stands.
func (g *Guard) State() State { return g.breaker.current() }
