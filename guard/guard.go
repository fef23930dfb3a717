package guard

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/argosy-go/argosy/telemetry"
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
	// Breaker configures the circuit breakers.
	Breaker BreakerConfig
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
	// Registry receives the metrics. Nil: none.
	Registry prometheus.Registerer
}

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
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Breaker = c.Breaker.withDefaults()
	return c
}

// Target is one contract that is called: its methods share a retry budget.
// Safe for concurrent use.
type Target struct {
	name   string
	c      Config
	budget *budget
	m      *metrics
}

// NewTarget returns the policies for one target.
func NewTarget(name string, c Config) *Target {
	c = c.withDefaults()
	return &Target{name: name, c: c, budget: newBudget(c.RetryShare), m: newMetrics(c.Registry)}
}

// Method returns the guard of a method as the service called from calls it.
// retryable says that sending a call twice is safe.
func (t *Target) Method(from, method string, retryable bool) *Guard {
	g := &Guard{t: t, retryable: retryable, retries: t.m.retries.WithLabelValues(from, method), starved: t.m.starved.WithLabelValues(from, method)}
	g.breaker = newBreaker(t.c.Breaker, t.c.Now, t.m.open.WithLabelValues(from, method), t.m.refused.WithLabelValues(from, method))
	return g
}

// Guard is the policies of one method. Safe for concurrent use.
type Guard struct {
	t         *Target
	retryable bool
	breaker   *breaker
	retries   prometheus.Counter
	starved   prometheus.Counter
}

// Do runs attempt under the policies and returns the error of the last one.
func (g *Guard) Do(ctx context.Context, attempt func(ctx context.Context) error) error {
	g.t.budget.earn()
	err := g.once(ctx, attempt)
	if err == nil {
		return nil
	}
	return g.again(ctx, attempt, err)
}

// once makes one attempt, if the breaker lets it.
func (g *Guard) once(ctx context.Context, attempt func(ctx context.Context) error) error {
	generation, err := g.breaker.allow()
	if err != nil {
		return err
	}
	ended := false
	defer func() {
		if !ended { // a panic: the probe must not be lost
			g.breaker.done(generation, nothing)
		}
	}()
	err = attempt(ctx)
	ended = true
	g.breaker.done(generation, judge(ctx, err))
	return err
}

// State tells how the breaker stands.
func (g *Guard) State() State { return g.breaker.current() }

// metrics of all guards of a registry.
type metrics struct {
	retries, starved, refused *prometheus.CounterVec
	open                      *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	labels := []string{"service", "method"}
	m := &metrics{
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "argosy_guard_retries_total", Help: "Attempts after the first."}, labels),
		starved: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "argosy_guard_retries_over_budget_total", Help: "Retries that the budget did not allow."}, labels),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "argosy_guard_breaker_refused_total", Help: "Calls that an open breaker refused."}, labels),
		open:    prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "argosy_guard_breaker_state", Help: "0 closed, 1 open, 2 half-open."}, labels),
	}
	m.retries, m.starved, m.refused = telemetry.Register(r, m.retries), telemetry.Register(r, m.starved), telemetry.Register(r, m.refused)
	m.open = telemetry.Register(r, m.open)
	return m
}
