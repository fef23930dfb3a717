// Package load sends the shop orders as customers do: they arrive whether the
// shop is quick or not (an open loop), double-click, lose patience and try
// again under the same key, walk away, and change their minds.
//
//	result, err := load.Run(ctx, load.Config{URL: "http://127.0.0.1:8080", Rate: 50, Duration: time.Minute, …})
//
// Every order that the shop acknowledged is written to a journal and fsynced
// before it is counted, so that the audit can hold the shop to it.
package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/argosy-go/argosy/shop/baskets"
	"github.com/argosy-go/argosy/shop/witness/ledger"
)

// Config says what load to make.
type Config struct {
	// URL is the shop's HTTP edge, or several of them, separated by commas: then
	// requests take turns among them, as behind a load balancer, and one where
	// nobody listens is left out.
	URL string
	// Email and Password sign the customer in.
	Email, Password string
	// Rate is how many customers arrive in a second, on average; the times
	// between them are exponential.
	Rate float64
	// Duration is how long they arrive.
	Duration time.Duration
	// Journal is the file that receives the acknowledged orders. Required.
	Journal string
	// Baskets is what they buy. Nil: the synthetic set.
	Baskets *baskets.Set
	// Seed makes arrivals and whims the same in every run.
	Seed uint64
	// MaxInFlight bounds the customers that wait at once; one who would come
	// on top is turned away and counted. Zero: 1000.
	MaxInFlight int
	// Progress is told how it goes, once a second. Nil: nobody.
	Progress func(Result)
}

// Result is what came of a load.
type Result struct {
	Offered      int `json:"offered"`      // customers that arrived
	TurnedAway   int `json:"turnedAway"`   // over MaxInFlight: the generator's limit, not the shop's
	Abandoned    int `json:"abandoned"`    // left before ordering
	Acknowledged int `json:"acknowledged"` // orders that the shop accepted, each fsynced in the journal
	Cancelled    int `json:"cancelled"`    // cancellations that were accepted
	Retries      int `json:"retries"`      // attempts under a key that was sent before
	Failed       int `json:"failed"`       // requests that customers gave up on: orders, and cancellations
	// Errors counts answers that were not wanted, by status and reason.
	Errors map[string]int `json:"errors"`
	// P50, P99 and Max are how long it took from the instant at which a customer
	// was to arrive to the acknowledgement, retries included, in milliseconds.
	P50 float64 `json:"p50Ms"`
	P99 float64 `json:"p99Ms"`
	Max float64 `json:"maxMs"`
	// Elapsed is how long the load took, in seconds.
	Elapsed float64 `json:"elapsed"`
	// Source says where the baskets come from.
	Source string `json:"source"`
}

// run is one load at work.
type run struct {
	c       Config
	shop    *client
	journal *ledger.Ledger
	mu      sync.Mutex
	r       Result
	took    []time.Duration
}

// Run makes the load and returns when the last customer has gone. When ctx
// ends, no more arrive, and those who are there finish.
func Run(ctx context.Context, c Config) (res Result, err error) {
	if c.Rate <= 0 || c.Duration <= 0 {
		return Result{}, fmt.Errorf("load: rate and duration must be above zero, not %g and %s", c.Rate, c.Duration)
	}
	if c.Baskets == nil {
		c.Baskets = baskets.Synthetic()
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = 1000
	}
	journal, _, err := ledger.Open(c.Journal)
	if err != nil {
		return Result{}, fmt.Errorf("load: journal: %w", err)
	}
	defer func() { err = errors.Join(err, journal.Close()) }()
	l := &run{c: c, shop: newClient(c.URL), journal: journal, r: Result{Errors: map[string]int{}, Source: c.Baskets.Source()}}
	if err := l.shop.signIn(ctx, c.Email, c.Password); err != nil {
		return Result{}, err
	}
	begun := time.Now()
	l.arrivals(ctx, begun)
	return l.result(time.Since(begun)), nil
}

// arrivals lets customers arrive and waits until all have gone.
func (l *run) arrivals(ctx context.Context, begun time.Time) {
	var inside sync.WaitGroup
	defer inside.Wait()
	stay := context.WithoutCancel(ctx)
	places := make(chan struct{}, l.c.MaxInFlight)
	dice := rand.New(rand.NewPCG(l.c.Seed, 1))
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	next := begun
	for n := 0; ; n++ {
		next = next.Add(time.Duration(dice.ExpFloat64() / l.c.Rate * float64(time.Second)))
		if next.Sub(begun) > l.c.Duration || !l.until(ctx, next, tick.C, begun) {
			return
		}
		l.count(func(r *Result) { r.Offered++ })
		at, who := next, rand.New(rand.NewPCG(l.c.Seed, uint64(n)+2))
		select {
		case places <- struct{}{}:
			inside.Go(func() {
				defer func() { <-places }()
				l.customer(stay, n, at, who)
			})
		default:
			l.count(func(r *Result) { r.TurnedAway++ })
		}
	}
}

// until waits for an instant and reports progress meanwhile.
func (l *run) until(ctx context.Context, at time.Time, tick <-chan time.Time, begun time.Time) bool {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case <-tick:
			if l.c.Progress != nil {
				l.c.Progress(l.result(time.Since(begun)))
			}
		}
	}
}

func (l *run) count(change func(*Result)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.r)
}

// result sums up what has happened so far.
func (l *run) result(elapsed time.Duration) Result {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.r
	r.Errors = make(map[string]int, len(l.r.Errors))
	for k, v := range l.r.Errors {
		r.Errors[k] = v
	}
	r.Elapsed = elapsed.Seconds()
	if n := len(l.took); n > 0 {
		took := slices.Sorted(slices.Values(l.took))
		ms := func(i int) float64 { return float64(took[i].Microseconds()) / 1000 }
		r.P50, r.P99, r.Max = ms(n/2), ms(n*99/100), ms(n-1)
	}
	return r
}
