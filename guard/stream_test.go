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

// streams opens n streams that have a message and stay open for a while, and
// ends each with err. It stops when one is refused.
func streams(ctx context.Context, g *Guard, n int, open time.Duration, err error) {
	for range n {
		var pass *Pass
		if g.Open(ctx, func(_ context.Context, p *Pass) error { pass = p; return nil }) != nil {
			return
		}
		pass.Answered()
		pass.Answered()
		<-time.After(open) // of the test's own clock
		pass.End(ctx, err)
	}
}

func TestAStreamThatBreaksSoonAfterItsFirstMessageIsAFailure(t *testing.T) {
	away := fault.New(codes.Unavailable, "AWAY", "away")
	for name, tt := range map[string]struct {
		err  error
		open time.Duration
		want State
	}{
		"a connection that broke":          {away, 0, Open},
		"a handler that broke":             {fault.New(codes.Internal, "INTERNAL", "internal error"), 0, Open},
		"an error without a code":          {errors.New("broken"), 0, Open},
		"a second later":                   {away, 100 * time.Millisecond, Open},
		"not when it ended well":           {nil, 0, Closed},
		"not when the client had enough":   {context.Canceled, 0, Closed},
		"not when its time was up":         {context.DeadlineExceeded, 0, Closed},
		"not when the server drains":       {fault.New(codes.Unavailable, fault.ReasonDraining, "away"), 0, Closed},
		"not for an answer of the server":  {fault.New(codes.NotFound, "NO_ORDER", "no order"), 0, Closed},
		"not when it had been open enough": {away, 11 * time.Second, Closed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := NewTarget("t", Config{}).Method("from", "/t/M", Once)
				streams(t.Context(), g, 40, tt.open, tt.err)
				if got := g.State(); got != tt.want {
					t.Errorf("the breaker is %v, want %v", got, tt.want)
				}
				if g.bulkhead.under.Load() != 0 {
					t.Error("a place was lost")
				}
			})
		})
	}
}

func TestAProbeThatBreaksAfterItsFirstMessageOpensTheBreakerAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away := fault.New(codes.Unavailable, "AWAY", "away")
		g := NewTarget("t", Config{}).Method("from", "/t/M", Once)
		streams(t.Context(), g, 40, 0, away)
		<-time.After(time.Second)
		streams(t.Context(), g, 1, 0, away)
		if got := g.State(); got != Open {
			t.Errorf("after a probe that broke the breaker is %v", got)
		}
		<-time.After(3 * time.Second)
		streams(t.Context(), g, 3, 0, nil)
		if got := g.State(); got != Closed {
			t.Errorf("after three that ended well it is %v", got)
		}
	})
}
