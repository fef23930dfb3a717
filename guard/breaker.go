package guard

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
)

// BreakerConfig configures a circuit breaker.
type BreakerConfig struct {
	// Window is how far back calls count. Zero: 10 s.
	Window time.Duration
	// MinCalls is how many calls of the window it takes to judge. Zero: 20.
	MinCalls int
	// Threshold is the share of failures at which it opens. Where all calls of a
	// tenth of the window, and all since, have failed, MinCalls at least, it does
	// not wait for the share. Zero: 0.5. Above 1: it never opens.
	Threshold float64
	// Pause is how long it stays open at first; it doubles up to MaxPause while
	// probes fail, which is also how late it may notice that the other side is
	// back. Zero: 500 ms, and 2 s for MaxPause.
	Pause, MaxPause time.Duration
	// Probes is how many calls it lets through, one after the other's success,
	// before it closes. Zero: 3.
	Probes int
}

func (c BreakerConfig) withDefaults() BreakerConfig {
	if c.Window < slots {
		c.Window = 10 * time.Second
	}
	if c.MinCalls <= 0 {
		c.MinCalls = 20
	}
	if c.Threshold <= 0 {
		c.Threshold = 0.5
	}
	if c.Pause <= 0 {
		c.Pause = 500 * time.Millisecond
	}
	if c.MaxPause <= 0 {
		c.MaxPause = 2 * time.Second
	}
	if c.Probes <= 0 {
		c.Probes = 3
	}
	return c
}

// State is how a breaker stands.
type State int

// The states.
const (
	Closed   State = iota // calls go through
	Open                  // calls are refused
	HalfOpen              // a few calls probe
)

// reasonOpen is the reason of a refusal; it is never retried here.
const reasonOpen = "BREAKER_OPEN"

var errOpen = fault.New(codes.Unavailable, reasonOpen, "the circuit breaker is open: recent calls failed").Refused()

// probeWait is how long a caller is told to wait while others probe.
const probeWait = 100 * time.Millisecond

// slots is how many parts the window has.
const slots = 10

// breaker is a circuit breaker over a sliding window (Nygard, Release It!).
type breaker struct {
	c       BreakerConfig
	now     func() time.Time
	made    time.Time
	refused atomic.Uint64

	mu         sync.Mutex
	state      State
	generation uint64 // results of calls from before a change of state do not count
	slot       [slots]struct{ calls, failures int }
	at         int64 // the slot that is being filled, counted from a window before made
	until      time.Time
	pause      time.Duration
	probing    int
	probed     time.Time // when the last probe was let through
	succeeded  int
	trips      [HalfOpen + 1]uint64 // how often each state was entered
	opened     Opening              // the last time
}

func newBreaker(c BreakerConfig, now func() time.Time) *breaker {
	return &breaker{c: c, now: now, made: now(), pause: c.Pause}
}

// allow returns the generation of the call, or the refusal.
func (b *breaker) allow() (uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == Closed {
		return b.generation, nil
	}
	now := b.now()
	if b.state == Open && !now.Before(b.until) {
		b.become(HalfOpen)
	}
	if b.state == HalfOpen && b.probing >= b.c.Probes && now.Sub(b.probed) > b.c.MaxPause {
		b.probing = 0 // the probes have not come back: others go beside them
	}
	if b.state == HalfOpen && b.probing < b.c.Probes {
		b.probing++
		b.probed = now
		return b.generation, nil
	}
	b.refused.Add(1)
	return 0, errOpen.WithRetryAfter(max(b.until.Sub(now), probeWait)) // half-open: the probes are under way
}

// outcome is what a call says of the other side.
type outcome int

const (
	healthy outcome = iota // it answered, be it with a refusal
	nothing                // the call did not get to an answer of the other side
	failing                // it is in trouble
)

// done tells how a call ended, and with which error, and returns the slot where that counts.
func (b *breaker) done(generation uint64, o outcome, err error) (at int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if generation != b.generation {
		return 0
	}
	switch {
	case o == nothing:
		if b.state == HalfOpen { // the next call probes instead
			b.probing = max(b.probing-1, 0)
		}
	case b.state == Closed:
		b.count(o == failing, err)
	case o == failing:
		b.pause = min(2*b.pause, b.c.MaxPause)
		b.open(err, b.succeeded+1, 1)
	default:
		if b.succeeded++; b.succeeded >= b.c.Probes {
			b.pause = b.c.Pause
			b.become(Closed)
		}
	}
	return b.at
}

// takeBack makes a failure of a call that counted as a success in the slot at,
// but broke later, with the error.
func (b *breaker) takeBack(generation uint64, at int64, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case generation != b.generation:
	case b.state == HalfOpen:
		b.pause = min(2*b.pause, b.c.MaxPause)
		b.open(err, b.succeeded, 1)
	default:
		b.advance()
		if b.at-at >= slots {
			return
		}
		b.slot[at%slots].failures++
		b.judge(err)
	}
}

// count adds a call to the window.
func (b *breaker) count(failed bool, err error) {
	b.advance()
	s := &b.slot[b.at%slots]
	s.calls++
	if !failed {
		return
	}
	s.failures++
	b.judge(err)
}

// judge opens the breaker when too much has failed, the last with the error.
func (b *breaker) judge(err error) {
	calls, failures := 0, 0
	for _, s := range b.slot {
		calls += s.calls
		failures += s.failures
	}
	if calls >= b.c.MinCalls && (float64(failures) >= b.c.Threshold*float64(calls) || b.silent()) {
		b.open(err, calls, failures)
	}
}

// silent reports whether nothing has succeeded for a whole slot and since, and
// enough has failed. Within a slot it may be one connection that broke, with
// all the calls that were under way on it, while others go on.
func (b *breaker) silent() bool {
	failed, before := 0, 0
	for i := range int64(slots) {
		s := b.slot[(b.at-i)%slots]
		if s.failures < s.calls {
			break
		}
		if failed += s.calls; i > 0 {
			before += s.calls
		}
	}
	return before > 0 && failed >= b.c.MinCalls && b.c.Threshold <= 1
}

// advance empties the slots that have left the window.
func (b *breaker) advance() {
	at := slots + int64(b.now().Sub(b.made)/(b.c.Window/slots)) // clocks that are set do not move it
	if at-b.at >= slots {
		clear(b.slot[:])
		b.at = at
	}
	for b.at < at {
		b.at++
		b.slot[b.at%slots] = struct{ calls, failures int }{}
	}
}

// open opens the breaker because of the last failure, among so many calls.
func (b *breaker) open(err error, calls, failures int) {
	now := b.now()
	b.until = now.Add(b.pause)
	e := fault.From(err)
	b.opened = Opening{At: now, Until: b.until, Calls: calls, Failures: failures, Code: e.Code.String(), Reason: e.Reason, Service: e.Service}
	b.become(Open)
}

func (b *breaker) become(s State) {
	b.state = s
	b.generation++
	b.probing, b.succeeded = 0, 0
	clear(b.slot[:])
	b.trips[s]++
}

func (b *breaker) current() State {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state
}

// judge reads an outcome from how a call ended. What the caller did wrong is an
// answer; what the caller took back, and what a breaker refused, says nothing.
func judge(ctx context.Context, err error) outcome {
	if err == nil {
		return healthy
	}
	e := fault.From(err)
	switch e.Code {
	case codes.Canceled:
		return nothing
	case codes.Unavailable:
		if refusedHere(e) || shed(e) || e.Reason == fault.ReasonDraining {
			return nothing
		}
		return failing
	case codes.Internal, codes.Unknown, codes.DataLoss:
		return failing
	case codes.DeadlineExceeded:
		if e.NotDone || ctx.Err() == context.Canceled {
			return nothing
		}
		return failing
	}
	return healthy
}
