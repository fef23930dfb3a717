package rpc

import (
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/argosy-go/argosy/fault"

	"sync/atomic"
)

// OutlierConfig configures the ejection of endpoints that are connected and
// fail. The zero value is right for most.
//
// An endpoint is ejected when calls to it fail one after the other, or when it
// fails much of what it gets while the others do not. What it was asked wrongly,
// what the caller gave up, and what it had no room for are no failures of it.
// Ejected endpoints come back by themselves, through a slow start, and on
// probation: the next failure ejects them again, for twice as long.
type OutlierConfig struct {
	// Failures is how many in a row eject. Zero: 5. Negative: nothing ejects.
	Failures int `json:",omitempty"`
	// FailureShare is the share of failed calls in a window that ejects, if
	// that of all others together is less than half of it. Zero: 0.5.
	FailureShare float64 `json:",omitempty"`
	// Window is how long shares are counted. It begins with a failure. Zero: 5 s.
	Window time.Duration `json:",omitempty"`
	// MinCalls is how many calls a window needs to be judged. Zero: 20.
	MinCalls int `json:",omitempty"`
	// MaxShare is the share of the endpoints that may be ejected at once: when
	// most fail, it is not they. One may be where there are two. Zero: 0.5.
	MaxShare float64 `json:",omitempty"`
	// Time is how long the first ejection lasts; it doubles up to MaxTime.
	// Zero: 5 s, and 60 s.
	Time, MaxTime time.Duration `json:",omitempty"`
}

func (c OutlierConfig) withDefaults() OutlierConfig {
	if c.Failures == 0 {
		c.Failures = 5
	}
	if c.FailureShare <= 0 {
		c.FailureShare = 0.5
	}
	if c.Window <= 0 {
		c.Window = 5 * time.Second
	}
	if c.MinCalls <= 0 {
		c.MinCalls = 20
	}
	if c.MaxShare <= 0 {
		c.MaxShare = 0.5
	}
	if c.Time <= 0 {
		c.Time = 5 * time.Second
	}
	if c.MaxTime <= 0 {
		c.MaxTime = time.Minute
	}
	return c
}

// verdict is what the end of a call says of its endpoint.
type verdict int

const (
	saysNothing verdict = iota
	saysSound
	saysBad
)

// judgeCall reads the end of a call.
func judgeCall(i balancer.DoneInfo) verdict {
	if i.Err == nil {
		if i.BytesReceived {
			return saysSound
		}
		return saysNothing // it never went out
	}
	switch status.Code(i.Err) {
	case codes.Unavailable:
		if e := fault.From(i.Err); drained(i.Err) || e.NotDone && e.Reason == fault.ReasonOverloaded {
			return saysNothing // without it, the others would have more still
		}
		return saysBad
	case codes.DeadlineExceeded, codes.Internal, codes.Unknown, codes.DataLoss:
		return saysBad
	case codes.Canceled, codes.ResourceExhausted:
		return saysNothing
	default:
		return saysSound
	}
}

// finish takes the end of a call. The path of a success is two loads and an add.
func (p *place) finish(i balancer.DoneInfo) {
	p.calls.end()
	switch judgeCall(i) {
	case saysSound:
		if p.failures.Load() != 0 {
			p.failures.Store(0)
		}
		if p.b.window.open.Load() {
			p.good.Add(1)
		}
	case saysBad:
		p.fail()
	}
}

// fail counts a failure, and ejects at the limit: again and again, as the first
// time too many others may have been out.
func (p *place) fail() {
	p.b.openWindow()
	p.bad.Add(1)
	n := p.failures.Add(1)
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	if limit := p.b.c.Outlier.Failures; limit > 0 && int(n) >= limit && p.b.eject(p) {
		p.b.publish()
	}
}

// eject takes an endpoint out for a while, if so many may be out; the lock is held.
func (b *balance) eject(p *place) bool {
	if b.closed || p.gone || p.ejected || len(b.places) < 2 {
		return false
	}
	out := 1
	for _, other := range b.places {
		if other.ejected {
			out++
		}
	}
	o := b.c.Outlier
	if out > max(1, int(o.MaxShare*float64(len(b.places)))) {
		return false
	}
	now := time.Now()
	if now.Sub(p.since) > o.MaxTime { // it was sound for long: the past is forgotten
		p.times = 0
	}
	p.ejected, p.until = true, now.Add(min(o.Time<<min(p.times, 16), o.MaxTime))
	p.times++
	if b.seen != nil {
		b.seen.ejections.Add(1)
	}
	return true
}

// restore lets an endpoint take calls again, on probation; the lock is held.
func (p *place) restore(now time.Time) {
	p.ejected, p.since = false, now
	p.failures.Store(int32(p.b.c.Outlier.Failures - 1))
}

// outlierWindow is the time in which shares of failures are counted.
type outlierWindow struct {
	open  atomic.Bool
	timer *time.Timer
}

func (w *outlierWindow) close() {
	w.open.Store(false)
	if w.timer != nil {
		w.timer.Stop()
	}
}

// openWindow begins to count, if nobody does yet: a fleet that is well counts nothing.
func (b *balance) openWindow() {
	if b.window.open.Load() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || b.c.Outlier.Failures < 0 || b.window.open.Load() {
		return
	}
	for _, p := range b.places {
		p.good.Store(0)
		p.bad.Store(0)
	}
	b.window.open.Store(true)
	b.window.timer = time.AfterFunc(b.c.Outlier.Window, b.judgeWindow)
}

// judgeWindow ejects who failed much more than the others, and ends the window.
func (b *balance) judgeWindow() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.window.open.Store(false)
	var good, bad uint32
	for _, p := range b.places {
		good, bad = good+p.good.Load(), bad+p.bad.Load()
	}
	o, changed := b.c.Outlier, false
	for _, p := range b.places {
		g, f := p.good.Load(), p.bad.Load()
		own, others := share(f, g), share(bad-f, good-g)
		enough := int(g+f) >= o.MinCalls && int(good+bad-g-f) >= o.MinCalls
		if enough && own >= o.FailureShare && others < o.FailureShare/2 && b.eject(p) {
			changed = true
		}
	}
	if changed {
		b.publish()
	}
}

// share returns which part of all calls failed.
func share(failed, sound uint32) float64 {
	if failed+sound == 0 {
		return 0
	}
	return float64(failed) / float64(failed+sound)
}
