package discovery

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff is the pauses between attempts that fail: the window doubles from
// First to Most, and a random part of it is taken (full jitter), so that those
// who failed together do not come back together (Brooker, "Exponential Backoff
// and Jitter", 2015). The zero value begins at 100 ms and ends at 5 s. It is not
// for concurrent use.
type Backoff struct {
	First, Most time.Duration
	window      time.Duration
}

// Next returns the next pause.
func (b *Backoff) Next() time.Duration {
	first, most := b.First, b.Most
	if first <= 0 {
		first = 100 * time.Millisecond
	}
	if most <= 0 {
		most = 5 * time.Second
	}
	if b.window = min(b.window*2, most); b.window <= 0 {
		b.window = min(first, most)
	}
	return rand.N(b.window) + 1
}

// Reset begins again, after a success.
func (b *Backoff) Reset() { b.window = 0 }

// Wait pauses before the next attempt; false: ctx ended first.
func (b *Backoff) Wait(ctx context.Context) bool { return pause(ctx, b.Next(), nil) }

// pause waits for d, less when a value comes from early. It reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration, early <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
	case <-early:
	}
	return ctx.Err() == nil
}
