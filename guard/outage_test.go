package guard

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/argosy-go/argosy/fault"
)

// dependency is one that is dead, slow and back, as the test says.
type dependency struct {
	mu      sync.Mutex
	takes   time.Duration
	dead    bool
	arrived int
}

func (d *dependency) attempt(ctx context.Context) error {
	d.mu.Lock()
	d.arrived++
	dead, takes := d.dead, d.takes
	d.mu.Unlock()
	if dead {
		return errAway
	}
	return sleepFor(ctx, takes)
}

func (d *dependency) become(dead bool, takes time.Duration) {
	d.mu.Lock()
	d.dead, d.takes, d.arrived = dead, takes, 0
	d.mu.Unlock()
}

func (d *dependency) arrivals() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.arrived
}

// phase is a piece of the outage, and what came of it.
type phase struct {
	name           string
	dead           bool
	takes          time.Duration
	calls, good    int
	arrived        int
	recovered      time.Duration // until calls went well again and for the rest of the phase
	load, goodRate float64
}

// offer makes calls at a steady rate while a phase lasts, as clients do that
// do not wait for each other, and returns when all have ended.
func (p *phase) offer(t *testing.T, g *Guard, d *dependency, lasts time.Duration) {
	const every = 5 * time.Millisecond
	d.become(p.dead, p.takes)
	var mu sync.Mutex
	var all sync.WaitGroup
	start := time.Now()
	for ; time.Since(start) < lasts; <-time.After(every) {
		p.calls++
		begun := time.Since(start)
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
			defer cancel()
			err := g.Do(ctx, d.attempt)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				p.good++
			} else {
				p.recovered = max(p.recovered, begun+every)
			}
		})
	}
	all.Wait()
	p.arrived = d.arrivals()
	p.load, p.goodRate = float64(p.arrived)/float64(p.calls), float64(p.good)/float64(p.calls)
}

// outage makes a dependency healthy, dead, back, slow and back.
func outage(t *testing.T, c Config) []*phase {
	g := NewTarget("t", c).Method("from", "/t/M", Repeatable)
	const takes = 20 * time.Millisecond
	phases := []*phase{
		{name: "healthy", takes: takes},
		{name: "dead", dead: true, takes: takes},
		{name: "back", takes: takes},
		{name: "slow (10×)", takes: 10 * takes},
		{name: "back again", takes: takes},
	}
	var d dependency
	for _, p := range phases {
		p.offer(t, g, &d, 20*time.Second)
	}
	return phases
}

func report(phases []*phase) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%-12s %6s %9s %6s %6s %10s\n", "dependency", "calls", "attempts", "load", "good", "last bad")
	for _, p := range phases {
		fmt.Fprintf(&b, "%-12s %6d %9d %5.0f%% %5.0f%% %10v\n", p.name, p.calls, p.arrived, 100*p.load, 100*p.goodRate, p.recovered)
	}
	return b.String()
}

func TestAnOutageGetsAtMostATenthMoreAndIsOverSoonAfter(t *testing.T) {
	for name, c := range map[string]Config{
		"with everything on":                    {},
		"with the budget alone":                 {Breaker: BreakerConfig{Threshold: 2}},
		"with attempts that are cut off at 60%": {AttemptTimeout: 90 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				phases := outage(t, c)
				t.Log(report(phases))
				for _, p := range phases {
					if most := p.calls + p.calls/10 + reserve; p.arrived > most {
						t.Errorf("%s: %d attempts of %d calls, want at most a tenth more", p.name, p.arrived, p.calls)
					}
				}
				if h := phases[0]; h.good != h.calls {
					t.Errorf("healthy: %d of %d went well", h.good, h.calls)
				}
				for _, p := range []*phase{phases[2], phases[4]} {
					if p.recovered > 5*time.Second {
						t.Errorf("%s: calls failed until %v after", p.name, p.recovered)
					}
				}
			})
		})
	}
}

func TestABreakerSparesWhatIsDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		phases := outage(t, Config{})
		// It takes a slot of failures, of a second, and the rest of the one before;
		// then there are a few probes every two seconds.
		if dead := phases[1]; dead.load > 0.12 {
			t.Errorf("a dead dependency got %.0f%% of 20 s of load, want two seconds' worth, and a few probes", 100*dead.load)
		}
	})
}

func TestALongOutageIsOverAsSoonAsAShortOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, d := NewTarget("t", Config{}).Method("from", "/t/M", Repeatable), &dependency{}
		for _, p := range []*phase{{name: "healthy"}, {name: "dead", dead: true}, {name: "back"}} {
			lasts := 10 * time.Second
			if p.dead {
				lasts = 10*time.Minute + 1300*time.Millisecond
			}
			p.offer(t, g, d, lasts)
			if p.name == "back" && p.recovered > 2100*time.Millisecond {
				t.Errorf("calls failed until %v after ten minutes of outage", p.recovered)
			}
		}
	})
}

func TestCallsThatFailTogetherOpenNoBreakerWhileOthersSucceed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewTarget("t", Config{}).Method("from", "/t/M", Once)
		<-time.After(900 * time.Millisecond)
		for range 20 { // a connection breaks, with 40 calls on it, as a slot begins
			calls(t, g, 60, nil)
			<-time.After(200 * time.Millisecond)
			calls(t, g, 40, errAway)
			if <-time.After(800 * time.Millisecond); g.State() != Closed {
				t.Fatal("the breaker opened")
			}
		}
	})
}

func TestWhoComesWhileABreakerProbesIsNotToldToComeBackAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewTarget("t", Config{Breaker: BreakerConfig{Probes: 1}}).Method("from", "/t/M", Once)
		calls(t, g, 20, errAway)
		<-time.After(time.Second) // longer than the pause
		err := g.Do(t.Context(), func(ctx context.Context) error {
			second := g.Do(ctx, func(context.Context) error { return nil })
			if e := fault.From(second); e == nil || e.Reason != reasonOpen || e.RetryAfter < probeWait {
				t.Errorf("beside the probe: %#v", e)
			}
			return nil
		})
		if err != nil || g.State() != Closed {
			t.Errorf("the probe: %v, and the breaker is %v", err, g.State())
		}
	})
}
