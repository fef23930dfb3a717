package guard

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
)

var (
	errAway     = fault.New(codes.Unavailable, "AWAY", "away")
	errNotFound = fault.New(codes.NotFound, "NOT_FOUND", "no such thing")
)

// calls makes n calls that end with err and returns how many were attempted.
func calls(t *testing.T, g *Guard, n int, err error) (attempts int) {
	t.Helper()
	for range n {
		_ = g.Do(t.Context(), func(context.Context) error { attempts++; return err })
	}
	return attempts
}

func TestRetry(t *testing.T) {
	tests := map[string]struct {
		repeat Repeat
		err    error
		want   int
	}{
		"a method that may be retried is, three times in all":  {Repeatable, errAway, 3},
		"a method that may not is called once":                 {Once, errAway, 1},
		"what is certainly not done is retried for any method": {Once, errAway.Refused(), 3},
		"an answer is not retried":                             {Repeatable, errNotFound, 1},
		"an unknown error is not retried":                      {Repeatable, errors.New("boom"), 1},
		"an unknown outcome at the deadline is not retried":    {Repeatable, fault.New(codes.DeadlineExceeded, "LATE", "late"), 1},
		"what a layer below retried is not retried again":      {Repeatable, errAway.WithMetadata(retriedKey, "true"), 1},
		"a limit that says when to come again is":              {Repeatable, fault.New(codes.ResourceExhausted, "QUOTA", "quota").WithRetryAfter(time.Second), 3},
		"a limit that does not say is not":                     {Repeatable, fault.New(codes.ResourceExhausted, "QUOTA", "quota"), 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := NewTarget("t", Config{}).Method("from", "/t/M", tt.repeat)
				if got := calls(t, g, 1, tt.err); got != tt.want {
					t.Errorf("attempts = %d, want %d", got, tt.want)
				}
			})
		})
	}
}

func TestRetryWaitsAsLongAsItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewTarget("t", Config{}).Method("from", "/t/M", Repeatable)
		begun := time.Now()
		calls(t, g, 1, errAway.WithRetryAfter(3*time.Second))
		if took := time.Since(begun); took < 6*time.Second {
			t.Errorf("two retries after %v, want at least 6s", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun = time.Now()
		_ = g.Do(ctx, func(context.Context) error { return errAway.WithRetryAfter(3 * time.Second) })
		if took := time.Since(begun); took != 0 {
			t.Errorf("waited %v for a retry that the deadline does not leave room for", took)
		}
	})
}

func TestRetriesStayInTheirBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 1000
		target := NewTarget("t", Config{Breaker: BreakerConfig{MinCalls: 1 << 30}})
		got := calls(t, target.Method("from", "/t/M", Repeatable), n, errAway)
		if most := n + n/10 + reserve; got > most {
			t.Errorf("%d calls made %d attempts, want at most %d", n, got, most)
		}
	})
}

func TestBreakerOpensProbesAndCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewTarget("t", Config{}).Method("from", "/t/M", Once)
		if got := calls(t, g, 100, errAway); got != 20 || g.State() != Open {
			t.Fatalf("%d calls went through, state %d; want 20 and open", got, g.State())
		}
		err := g.Do(t.Context(), func(context.Context) error { return nil })
		if e := fault.From(err); e == nil || e.Code != codes.Unavailable || !e.NotDone || e.RetryAfter <= 0 {
			t.Errorf("an open breaker says %#v, want UNAVAILABLE, not done, with a time", e)
		}
		<-time.After(500 * time.Millisecond)
		if calls(t, g, 1, errAway); g.State() != Open {
			t.Error("a failed probe must open it again")
		}
		<-time.After(500 * time.Millisecond)
		if got := calls(t, g, 1, nil); got != 0 {
			t.Error("the pause must grow after a failed probe")
		}
		<-time.After(500 * time.Millisecond)
		calls(t, g, 5, context.Canceled) // says nothing, and gives its place back
		if calls(t, g, 3, nil); g.State() != Closed {
			t.Errorf("state %d after three good probes, want closed", g.State())
		}
	})
}

func TestBreakerStaysClosed(t *testing.T) {
	tests := map[string]error{
		"on answers":                          errNotFound,
		"on calls taken back":                 context.Canceled,
		"on another breaker's answer":         errOpen,
		"on calls that were shed":             fault.New(codes.Unavailable, fault.ReasonOverloaded, "too much").Refused(),
		"on deadlines that had passed before": fault.New(codes.DeadlineExceeded, "LATE", "late").Refused(),
	}
	for name, err := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewTarget("t", Config{}).Method("from", "/t/M", Once)
			if got := calls(t, g, 200, err); got < 200 || g.State() != Closed {
				t.Errorf("%d of 200 went through, state %d", got, g.State())
			}
		})
	}
}

func TestOldFailuresAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewTarget("t", Config{}).Method("from", "/t/M", Once)
		calls(t, g, 19, errAway)
		<-time.After(11 * time.Second)
		if calls(t, g, 19, errAway); g.State() != Closed {
			t.Error("failures from before the window opened the breaker")
		}
	})
}

func TestAPanicDoesNotKeepAProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewTarget("t", Config{}).Method("from", "/t/M", Once)
		calls(t, g, 20, errAway)
		<-time.After(time.Second)
		for range 5 {
			func() {
				defer func() { _ = recover() }()
				_ = g.Do(t.Context(), func(context.Context) error { panic("boom") })
			}()
		}
		if calls(t, g, 3, nil); g.State() != Closed {
			t.Error("panics used the probes up")
		}
	})
}

func BenchmarkHealthy(b *testing.B) {
	g := NewTarget("t", Config{}).Method("from", "/t/M", Repeatable)
	ctx := b.Context()
	ok := func(context.Context) error { return nil }
	b.ReportAllocs()
	for b.Loop() {
		if err := g.Do(ctx, ok); err != nil {
			b.Fatal(err)
		}
	}
}

func TestProbesThatNeverComeBackAreReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewTarget("t", Config{}).Method("from", "/t/M", Once)
		calls(t, g, 20, errAway)
		<-time.After(time.Second)
		stuck := make(chan struct{})
		for range 3 { // all the probes there are
			go func() {
				_ = g.Do(context.Background(), func(context.Context) error { <-stuck; return nil })
			}()
		}
		synctest.Wait()
		if got := calls(t, g, 1, nil); got != 0 {
			t.Error("a call went through beside the probes")
		}
		<-time.After(11 * time.Second)
		if got := calls(t, g, 3, nil); got != 3 || g.State() != Closed {
			t.Errorf("%d of 3 new probes went through, state %d", got, g.State())
		}
		close(stuck)
	})
}

// The first attempt may have had its effect: that the second was refused, as by
// a breaker that has opened meanwhile, does not make the call one that was not
// done.
func TestACallIsNotDoneOnlyIfNoAttemptMayHaveBeen(t *testing.T) {
	refused := errAway.Refused()
	for name, c := range map[string]struct {
		ends []error
		want bool
	}{
		"all were refused":             {[]error{refused, refused, refused}, true},
		"the first is not known of":    {[]error{errAway, refused, refused}, false},
		"the second is not":            {[]error{refused, errAway, refused}, false},
		"the breaker refused the last": {[]error{errAway, errOpen}, false},
		"it alone refused":             {[]error{errOpen}, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			g, n := NewTarget("t", Config{}).Method("from", "/t/M", Repeatable), 0
			err := g.Do(t.Context(), func(context.Context) error { n++; return c.ends[n-1] })
			if got := fault.From(err).NotDone; got != c.want || n != len(c.ends) {
				t.Errorf("%s: not done %v after %d attempts", name, got, n)
			}
		})
	}
}

func TestProbesThatTakeLongCloseTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewTarget("t", Config{}).Method("from", "/t/M", Once)
		calls(t, g, 20, errAway)
		for range 80 { // calls that honestly take 3 s, ten a second
			<-time.After(100 * time.Millisecond)
			go func() {
				_ = g.Do(context.Background(), func(context.Context) error { <-time.After(3 * time.Second); return nil })
			}()
		}
		if g.State() != Closed {
			t.Errorf("state %d after 8 s of calls that succeed", g.State())
		}
		<-time.After(4 * time.Second)
	})
}

func TestWhatWasGivenUpOnIsMarkedForTheLayersAbove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := errAway.WithRetryAfter(time.Hour)
		for name, c := range map[string]struct {
			repeat Repeat
			err    error
			want   bool
		}{
			"after all attempts":                   {Repeatable, errAway, true},
			"when the pause is past the deadline":  {Repeatable, late, true},
			"not when it was never ours to repeat": {Once, errAway, false},
			"not when another attempt cannot help": {Repeatable, errNotFound, false},
		} {
			g := NewTarget("t", Config{}).Method("from", "/t/M", c.repeat)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			err := g.Do(ctx, func(context.Context) error { return c.err })
			cancel()
			if got := fault.From(err).Metadata[retriedKey] != ""; got != c.want {
				t.Errorf("%s: marked %v", name, got)
			}
		}
	})
}

func TestRetriesAddAtMostATenthOnceTheReserveIsSpent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// A threshold that is never reached: the budget alone bounds.
		g := NewTarget("t", Config{Breaker: BreakerConfig{Threshold: 2}}).Method("from", "/t/M", Repeatable)
		const n = 1000
		if got := calls(t, g, n, errAway); got > n+n/10+reserve {
			t.Errorf("%d attempts of %d calls", got, n)
		}
	})
}
