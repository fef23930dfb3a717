package discovery_test

import (
	"testing"
	"time"

	"github.com/argosy-go/argosy/discovery"
)

func TestPausesGrowAndAreSpreadOverTheirWholeWindow(t *testing.T) {
	windows := []time.Duration{100, 200, 400, 500, 500}
	low, high := make([]time.Duration, len(windows)), make([]time.Duration, len(windows))
	for range 2000 {
		b := discovery.Backoff{First: 100, Most: 500}
		for i := range windows {
			p := b.Next()
			if low[i] == 0 || p < low[i] {
				low[i] = p
			}
			high[i] = max(high[i], p)
		}
		if b.Reset(); b.Next() > 100 {
			t.Fatal("Reset did not begin again")
		}
	}
	for i, w := range windows {
		if low[i] > w/5 || high[i] < w*4/5 || high[i] > w {
			t.Errorf("pause %d: %d to %d, want it spread over 1 to %d", i, low[i], high[i], w)
		}
	}
}
