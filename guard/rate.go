package guard

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// RateConfig configures a [Rate].
type RateConfig struct {
	// PerSecond is how many calls a caller gets each second. Zero: no quota.
	PerSecond float64
	// Burst is how many it may make at once after a rest. Zero: two seconds'
	// worth, at least 1.
	Burst int
	// MaxCallers bounds the memory: so many callers are known at once. Zero: 16384.
	MaxCallers int
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
}

// Rate gives each caller its own token bucket. Callers who rest are forgotten,
// which loses nothing: a full bucket is what a new caller gets. When more than
// MaxCallers are at work the memory stays bounded and the fullest of some
// buckets is forgotten early, to the advantage of its caller. Safe for
// concurrent use.
type Rate struct {
	c       RateConfig
	made    time.Time // times are nanoseconds since then, which setting the clock does not change
	per     float64   // nanoseconds a token
	seed    maphash.Seed
	shards  [rateShards]rateShard
	refused atomic.Uint64
}

const (
	rateShards = 16
	rateProbes = 8 // buckets looked at to find one that can go
)

type rateShard struct {
	mu      sync.Mutex
	buckets map[string]bucket
}

// bucket is when it will have been full again, in nanoseconds since made:
// the generic cell rate algorithm's form of a token bucket (ITU-T I.371).
type bucket int64

// NewRate returns the quota of each caller, or nil when there is none. A nil
// Rate lets everything pass.
func NewRate(c RateConfig) *Rate {
	if c.PerSecond <= 0 {
		return nil
	}
	if c.Burst <= 0 {
		c.Burst = max(1, int(2*c.PerSecond))
	}
	if c.MaxCallers <= 0 {
		c.MaxCallers = 16384
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	r := &Rate{c: c, made: c.Now(), per: float64(time.Second) / c.PerSecond, seed: maphash.MakeSeed()}
	for i := range r.shards {
		r.shards[i].buckets = map[string]bucket{}
	}
	return r
}

// Take takes a token of the caller's. It returns 0 when there was one, and
// otherwise how long it takes until there is.
func (r *Rate) Take(caller string) time.Duration {
	if r == nil {
		return 0
	}
	s := &r.shards[maphash.String(r.seed, caller)%rateShards]
	now := int64(r.c.Now().Sub(r.made))
	s.mu.Lock()
	full, known := s.buckets[caller]
	next := max(int64(full), now) + int64(r.per)
	// A bucket holds Burst tokens: it may be that many from full.
	if wait := next - now - int64(r.per*float64(r.c.Burst)); wait > 0 {
		s.mu.Unlock()
		r.refused.Add(1)
		return time.Duration(wait)
	}
	if !known && len(s.buckets) >= max(1, r.c.MaxCallers/rateShards) {
		s.forget(now)
	}
	s.buckets[caller] = bucket(next)
	s.mu.Unlock()
	return 0
}

// forget makes room: full buckets that it comes across go, and if there are
// none the fullest.
func (s *rateShard) forget(now int64) {
	var fullest string
	var at bucket
	seen, gone := 0, 0
	for caller, full := range s.buckets { // in an order that is random enough
		if int64(full) <= now {
			delete(s.buckets, caller)
			gone++
		} else if at == 0 || full < at {
			fullest, at = caller, full
		}
		if seen++; seen == rateProbes {
			break
		}
	}
	if gone == 0 {
		delete(s.buckets, fullest)
	}
}

// RateState is how a [Rate] stands.
type RateState struct {
	// PerSecond and Burst are what each caller gets.
	PerSecond float64 `json:"per_second"`
	Burst     int     `json:"burst"`
	// Callers is how many are remembered.
	Callers int `json:"callers"`
	// Refused counts the calls that were over their caller's quota.
	Refused uint64 `json:"refused"`
}

// State tells how the quotas stand; the zero RateState when there are none.
func (r *Rate) State() RateState {
	if r == nil {
		return RateState{}
	}
	st := RateState{PerSecond: r.c.PerSecond, Burst: r.c.Burst, Refused: r.refused.Load()}
	for i := range r.shards {
		r.shards[i].mu.Lock()
		st.Callers += len(r.shards[i].buckets)
		r.shards[i].mu.Unlock()
	}
	return st
}
