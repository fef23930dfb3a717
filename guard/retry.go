package guard

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
)

// retriedKey marks, in an error's metadata, that a layer below has retried:
// one layer retries, or attempts would multiply.
const retriedKey = "argosy_retried"

// again makes further attempts while they are allowed and may help. What it
// gives up on is marked, so that no layer above tries the same again. It is
// certainly not done only if no attempt was: the last may have been refused by
// a breaker that the first, which nobody knows the end of, has opened.
func (g *Guard) again(ctx context.Context, try func(ctx context.Context) error, err error) error {
	pause, doubt := g.c.FirstPause, false
	for n := 1; n < g.c.MaxAttempts; n++ {
		e := fault.From(err)
		if !g.worthwhile(ctx, e) {
			if n == 1 {
				return err
			}
			break
		}
		doubt = doubt || !e.NotDone
		d := rand.N(pause)
		if e.RetryAfter > d {
			d += e.RetryAfter
		}
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= d {
			break
		}
		if !g.t.budget.spend() {
			g.starved.Add(1)
			break
		}
		if !sleep(ctx, d) {
			break
		}
		g.retries.Add(1)
		if err = try(ctx); err == nil {
			return nil
		}
		pause = min(2*pause, g.c.MaxPause)
	}
	e := fault.From(err)
	if doubt && e.NotDone {
		unsure := *e
		unsure.NotDone = false
		e, err = &unsure, &unsure
	}
	if g.transient(e) {
		return e.WithMetadata(retriedKey, "true")
	}
	return err
}

// worthwhile reports whether another attempt is safe and may end better.
func (g *Guard) worthwhile(ctx context.Context, e *fault.Error) bool {
	if ctx.Err() != nil || e.Metadata[retriedKey] != "" || refusedHere(e) {
		return false
	}
	return g.transient(e) && (g.repeat != Once || e.NotDone)
}

// transient reports whether the error may go away by itself.
func (g *Guard) transient(e *fault.Error) bool {
	switch e.Code {
	case codes.Unavailable:
		return true
	case codes.DeadlineExceeded:
		return e.Reason == reasonAttempt
	case codes.ResourceExhausted, codes.Aborted:
		return e.RetryAfter > 0
	}
	return false
}

// refusedHere reports whether a guard refused the call: at once, and it would
// do so again.
func refusedHere(e *fault.Error) bool {
	return e.Reason == reasonOpen || e.Reason == reasonFull || e.Reason == reasonLimit
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// budget bounds the retries of a target to a share of its calls, so that
// retries cannot double the load on something that fails. A small reserve
// lets a quiet caller retry at all.
type budget struct {
	mu     sync.Mutex
	tokens float64
	share  float64
}

// reserve is the most retries that a budget can hold.
const reserve = 10

func newBudget(share float64) *budget { return &budget{tokens: reserve, share: share} }

// earn is called once for each call.
func (b *budget) earn() {
	b.mu.Lock()
	b.tokens = min(b.tokens+b.share, reserve)
	b.mu.Unlock()
}

// spend takes a retry, if there is one.
func (b *budget) spend() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// left returns how many retries it holds.
func (b *budget) left() float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.tokens
}
