package event

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff grows delays from least to most, doubling, half of each by chance.
type backoff struct{ least, most time.Duration }

// after returns the delay after n failures in a row, n ≥ 1.
func (b backoff) after(n int) time.Duration {
	d := b.most
	if shift := n - 1; shift < 32 {
		d = min(b.most, b.least<<shift)
	}
	if d <= 0 {
		return 0
	}
	return d/2 + rand.N(d/2+1)
}

// pause waits for d and reports whether it came to its end before ctx.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
