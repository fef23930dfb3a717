package guard

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
)

var errBusy = fault.New(codes.Unavailable, fault.ReasonOverloaded, "busy").WithRetryAfter(time.Second).Refused()

// hang makes n calls that do not end before the context, and returns once all
// are under way.
func hang(ctx context.Context, g *Guard, n int) *sync.WaitGroup {
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			_ = g.Do(ctx, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		})
	}
	synctest.Wait()
	return &all
}

func TestABulkheadRefusesAtOnceWhatIsTooMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		target := NewTarget("t", Config{MaxInFlight: 5})
		g := target.Method("from", "/t/M", Repeatable)
		ctx, cancel := context.WithCancel(t.Context())
		all := hang(ctx, g, 5)
		begun := time.Now()
		err := g.Do(t.Context(), func(context.Context) error { t.Error("a sixth call went through"); return nil })
		if e := fault.From(err); e == nil || e.Code != codes.Unavailable || !e.NotDone || e.Reason != reasonFull || time.Since(begun) != 0 {
			t.Errorf("the sixth call got %#v after %v, want an immediate refusal", e, time.Since(begun))
		}
		if got := target.State().Methods[0].InFlight; got != 5 {
			t.Errorf("%d in flight, want 5", got)
		}
		if calls(t, target.Method("from", "/t/Other", Once), 1, nil) != 1 {
			t.Error("another method was refused too")
		}
		cancel()
		all.Wait()
		if calls(t, g, 1, nil) != 1 || g.bulkhead.under.Load() != 0 {
			t.Error("the places did not come back")
		}
	})
}

func TestTheLimitFollowsWhatTheOtherSideTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const capacity = 40
		g := NewTarget("t", Config{MaxInFlight: 400, MaxAttempts: 1, MinLimit: 10, Breaker: BreakerConfig{Threshold: 2}}).Method("from", "/t/M", Once)
		var mu sync.Mutex
		under, sent, refusedThere := 0, 0, 0
		serve := func(context.Context) error {
			mu.Lock()
			sent++
			if under >= capacity {
				refusedThere++
				mu.Unlock()
				return errBusy
			}
			under++
			mu.Unlock()
			<-time.After(10 * time.Millisecond)
			mu.Lock()
			under--
			mu.Unlock()
			return nil
		}
		load := func(workers int, d time.Duration) {
			end := time.Now().Add(d)
			var all sync.WaitGroup
			for range workers {
				all.Go(func() {
					for time.Now().Before(end) {
						if g.Do(t.Context(), serve) != nil {
							<-time.After(10 * time.Millisecond)
						}
					}
				})
			}
			all.Wait()
		}
		load(10*capacity, 300*time.Millisecond)
		sent, refusedThere = 0, 0
		load(10*capacity, time.Second)
		if share := float64(refusedThere) / float64(sent); share > 0.15 || sent-refusedThere < capacity*100*8/10 {
			t.Errorf("of %d calls that were sent %.0f%% were refused there, want few of about %d", sent, 100*share, capacity*100)
		}
		if at := g.limit.at.Load(); at > 2*capacity {
			t.Errorf("the limit is %d, the other side takes %d", at, capacity)
		}
		low := g.limit.at.Load()
		serve = func(context.Context) error { <-time.After(10 * time.Millisecond); return nil }
		load(400, 2*time.Second)
		if at := g.limit.at.Load(); at < 300 {
			t.Errorf("the limit went from %d to %d in 2 s after the overload, want 300 or more", low, at)
		}
	})
}

func TestTheLimitIsCutOnlyByOverload(t *testing.T) {
	for name, tt := range map[string]struct {
		err error
		cut bool
	}{
		"a refusal for overload":           {errBusy, true},
		"time that ran out":                {fault.New(codes.DeadlineExceeded, "LATE", "late"), true},
		"an answer":                        {errNotFound, false},
		"a connection that broke":          {errAway, false},
		"a refusal somewhere further down": {fault.New(codes.Unavailable, fault.ReasonOverloaded, "busy"), false},
		"a deadline that had passed":       {fault.New(codes.DeadlineExceeded, "LATE", "late").Refused(), false},
		"a call taken back":                {context.Canceled, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewTarget("t", Config{MaxAttempts: 1}).Method("from", "/t/M", Once)
			calls(t, g, 1, tt.err)
			if at := g.limit.at.Load(); (at < 1000) != tt.cut || at < 400 {
				t.Errorf("the limit is %d of 1000", at)
			}
			if calls(t, g, 15, tt.err); g.limit.at.Load() < 32 {
				t.Errorf("the limit fell to %d, below what is always allowed", g.limit.at.Load())
			}
		})
	}
}

func TestAnAttemptThatHangsLeavesTimeForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Config{Methods: map[string]MethodConfig{"Get": {AttemptTimeout: time.Second}}}
		for repeat, want := range map[Repeat]int{Repeatable: 2, Once: 1} {
			g := NewTarget("t", c).Method("from", "/t/Get", repeat)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			begun, attempts := time.Now(), 0
			err := g.Do(ctx, func(ctx context.Context) error {
				if attempts++; attempts > 1 {
					return nil
				}
				<-ctx.Done()
				return ctx.Err()
			})
			cancel()
			if attempts != want || (err == nil) != (want == 2) || time.Since(begun) > 2*time.Second {
				t.Errorf("%d: %d attempts, %v after %v", repeat, attempts, err, time.Since(begun))
			}
			if e := fault.From(err); err != nil && (e.Code != codes.DeadlineExceeded || e.NotDone) {
				t.Errorf("the outcome is unknown, and was given as %#v", e)
			}
		}
	})
}

// racer is an attempt that does what it is told.
func racer(attempt func(ctx context.Context) error, win func()) Racer {
	return Racer{Attempt: attempt, Win: win}
}

func hedged(c HedgeConfig, repeat Repeat) *Guard {
	c.On = true
	return NewTarget("t", Config{Hedge: c}).Method("from", "/t/M", repeat)
}

func TestOnlyReadsAreHedgedAndOnlyWhenAsked(t *testing.T) {
	if NewTarget("t", Config{}).Method("from", "/t/M", ReadOnly).Hedged() {
		t.Error("hedging is on by default")
	}
	for repeat, want := range map[Repeat]bool{Once: false, Repeatable: false, ReadOnly: true} {
		if hedged(HedgeConfig{}, repeat).Hedged() != want {
			t.Errorf("%d is hedged: %v", repeat, !want)
		}
	}
}

func TestASlowAttemptLosesToItsHedge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := hedged(HedgeConfig{MinDelay: 50 * time.Millisecond}, ReadOnly)
		begun, made, won, cancelled := time.Now(), 0, 0, false
		err := g.Race(t.Context(), func() Racer {
			made++
			n := made
			return racer(func(ctx context.Context) error {
				if n == 1 {
					<-ctx.Done()
					cancelled = true
					return ctx.Err()
				}
				return nil
			}, func() { won = n })
		})
		if err != nil || made != 2 || won != 2 || !cancelled {
			t.Errorf("%v: %d attempts, the %d. won, the loser was cancelled: %v", err, made, won, cancelled)
		}
		if took := time.Since(begun); took != 50*time.Millisecond {
			t.Errorf("the answer took %v, want the delay of the hedge", took)
		}
		if g.State() != Closed || g.bulkhead.under.Load() != 0 || g.limit.at.Load() != 1000 {
			t.Error("the loser counted against the other side, or kept its place")
		}
	})
}

func TestHedgesComeAfterThePercentileAndInTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := hedged(HedgeConfig{MinDelay: time.Millisecond}, ReadOnly)
		const n = 3000
		made := 0
		for i := range n {
			_ = g.Race(t.Context(), func() Racer {
				made++
				return racer(func(ctx context.Context) error {
					return sleepFor(ctx, time.Duration(20+i%100)*time.Millisecond)
				}, func() {})
			})
		}
		if d := g.hedge.delay(); d < 90*time.Millisecond || d > 140*time.Millisecond {
			t.Errorf("the hedge comes after %v, want about the 95th percentile of 20 to 119 ms", d)
		}
		if extra := made - n; extra < n/200 || extra > n/10+reserve {
			t.Errorf("%d hedges of %d calls", extra, n)
		}
		g.t.budget.tokens = 0
		g.t.budget.share = 0
		made = 0
		_ = g.Race(t.Context(), func() Racer {
			made++
			return racer(func(ctx context.Context) error { return sleepFor(ctx, time.Second) }, func() {})
		})
		if made != 1 {
			t.Error("a hedge was made without a budget")
		}
	})
}

func sleepFor(ctx context.Context, d time.Duration) error {
	if !sleep(ctx, d) {
		return ctx.Err()
	}
	return nil
}

func TestAHedgedCallThatFailsIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := hedged(HedgeConfig{}, ReadOnly)
		made, won := 0, 0
		err := g.Race(t.Context(), func() Racer {
			made++
			n := made
			return racer(func(context.Context) error {
				if n < 3 {
					return errAway
				}
				return nil
			}, func() { won = n })
		})
		if err != nil || made != 3 || won != 3 {
			t.Errorf("%v: %d attempts, the %d. won", err, made, won)
		}
	})
}

func TestAPanicOfARacerReachesTheCaller(t *testing.T) {
	g := hedged(HedgeConfig{}, ReadOnly)
	defer func() {
		if recover() != "boom" || g.bulkhead.under.Load() != 0 {
			t.Error("the panic got lost, or kept a place")
		}
	}()
	_ = g.Race(t.Context(), func() Racer { return racer(func(context.Context) error { panic("boom") }, func() {}) })
}

func TestAStreamHoldsItsPlaceUntilItEnds(t *testing.T) {
	g := NewTarget("t", Config{MaxInFlight: 1}).Method("from", "/t/M", Once)
	var pass *Pass
	open := func(_ context.Context, p *Pass) error { pass = p; return nil }
	if err := g.Open(t.Context(), open); err != nil {
		t.Fatal(err)
	}
	first := pass
	if e := fault.From(g.Open(t.Context(), open)); e == nil || e.Reason != reasonFull {
		t.Errorf("a second stream: %v", e)
	}
	first.Answered()
	first.End(t.Context(), nil)
	first.End(t.Context(), nil)
	if err := g.Open(t.Context(), open); err != nil || g.bulkhead.under.Load() != 1 {
		t.Errorf("after the first: %v, %d under way", err, g.bulkhead.under.Load())
	}
}

func TestTheLimitGrowsByStreamsThatStayOpen(t *testing.T) {
	g := NewTarget("t", Config{}).Method("from", "/t/M", Once)
	overload := fault.New(codes.Unavailable, fault.ReasonOverloaded, "too much").Refused()
	var open []*Pass
	try := func(err error) bool {
		return g.Open(t.Context(), func(_ context.Context, p *Pass) error {
			if err == nil {
				open = append(open, p)
				p.Answered()
			}
			return err
		}) == nil
	}
	for range 500 {
		try(nil)
	}
	for range 100 {
		_ = try(overload)
	}
	cut := g.limit.at.Load()
	for _, p := range open[:400] {
		p.End(t.Context(), nil)
	}
	for range 200 {
		try(nil)
	}
	if grown := g.limit.at.Load(); cut >= 500 || grown <= cut {
		t.Errorf("the limit was cut to %d, and is %d after 200 streams that are open", cut, grown)
	}
}

func TestStreamsThatBreakOpenTheBreaker(t *testing.T) {
	for _, answered := range []bool{false, true} {
		g := NewTarget("t", Config{}).Method("from", "/t/M", Once)
		for range 30 {
			_ = g.Open(t.Context(), func(ctx context.Context, p *Pass) error {
				if answered {
					p.Answered()
				}
				p.End(ctx, errAway)
				return nil
			})
		}
		if g.State() != Open {
			t.Errorf("answered first: %v, the breaker is %v", answered, g.State())
		}
	}
}

func TestTheStateOfAllGuardsIsShown(t *testing.T) {
	target := NewTarget("t", Config{Hedge: HedgeConfig{On: true}, Methods: map[string]MethodConfig{"A": {MaxAttempts: 2, MaxInFlight: 7}}})
	target.Method("from", "/t/B", ReadOnly)
	calls(t, target.Method("from", "/t/A", Repeatable), 100, errAway.Refused())
	s := target.State()
	if len(s.Methods) != 2 || s.Methods[0].Method != "/t/A" || s.Target != "t" || s.Budget >= reserve {
		t.Fatalf("%+v", s)
	}
	if a := s.Methods[0]; a.Breaker.State != "open" || a.MaxAttempts != 2 || a.MaxInFlight != 7 || a.Limit != 7 || a.HedgeAfter != 0 {
		t.Errorf("%+v", a)
	}
	if o := s.Methods[0].Breaker.Opened; o == nil || o.Code != "Unavailable" || o.Calls != 20 || o.Failures != 20 || o.Until.Sub(o.At) != 500*time.Millisecond {
		t.Errorf("the breaker opened because of %+v", o)
	}
	if n := s.Methods[0].Breaker; n.Times != 1 || n.Refused != 90 {
		t.Errorf("the breaker is %+v after 100 calls and the 10 retries of the reserve, of which it let 20 through", n)
	}
	if b := s.Methods[1]; b.Breaker.Opened != nil || b.Breaker.State != "closed" || b.MaxAttempts != 3 || b.HedgeAfter != 10*time.Millisecond {
		t.Errorf("%+v", b)
	}
}
