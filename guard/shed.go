package guard

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// ShedConfig configures a [Shedder]. The zero value is right for most.
type ShedConfig struct {
	// MaxLimit and MinLimit bound the limit. Zero: 1000, and 32. MinLimit is
	// what a method is granted, so that nothing is refused where a queue cannot
	// be long, unless calls run out of time in it: then the limit is halved
	// until they no longer do.
	MaxLimit, MinLimit int
	// Slack is a queue that harms nobody: a mean latency is taken as overload
	// when it is over twice what it is without load, and more than Slack longer.
	// Zero: 50 ms.
	Slack time.Duration
	// Window is the shortest time over which latencies are averaged. Zero: 100 ms.
	Window time.Duration
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
}

func (c ShedConfig) withDefaults() ShedConfig {
	if c.MaxLimit <= 0 {
		c.MaxLimit = 1000
	}
	if c.MinLimit <= 0 {
		c.MinLimit = 32
	}
	c.MinLimit = min(c.MinLimit, c.MaxLimit)
	if c.Slack <= 0 {
		c.Slack = 50 * time.Millisecond
	}
	if c.Window <= 0 {
		c.Window = 100 * time.Millisecond
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

const (
	tolerance   = 2.0             // times the latency without load
	samplesMin  = 10              // of a window
	longestWait = 5 * time.Second // of a window for calls that began after a cut
	probeEvery  = 10              // windows at the lowest limit, or below
)

// Shedder limits how many calls of one method a server works on at once, by
// the latency that it sees: calls that wait for each other take longer, and
// beyond a point more of them at once get nothing more done. What is over the
// limit is better refused at once than served too late.
//
// The limit follows the gradient of the latency (as in TCP Vegas, and in
// Netflix's concurrency-limits): while the mean stays near what it is without
// load the limit grows by its square root in every window; when it does not,
// the limit becomes as many calls as would bring it back (Little's law). A
// latency that does not fall with the number of calls is no queue here but
// slower work, such as that of a dependency: then it is taken as the new
// normal, for refusing calls would not help.
//
// The zero value is not useful: make one with [NewShedder]. Safe for
// concurrent use; Enter and Leave take no lock that somebody holds, and allocate nothing.
type Shedder struct {
	c        ShedConfig
	inFlight atomic.Int64 // the critical ones included
	critical atomic.Int64
	limit    atomic.Int64
	shed     [3]atomic.Uint64 // by Criticality

	// The window under way.
	start          time.Time    // times are nanoseconds since then
	count, expired atomic.Int64 // samples, and how many of them ran out of time
	took, busy     atomic.Int64 // the sums of their nanoseconds, and of the calls under way beside them
	since          atomic.Int64 // calls that began before are no samples; or drain
	until          atomic.Int64 // when the window may end
	pause          atomic.Int64 // how long a window lasts after a drain

	mu     sync.Mutex // guards what follows, and is held while a window ends
	normal float64    // mean latency without load, ns; 0 before it is known
	last   reading    // the window before, when it was too slow
	refuse uint64     // refusals up to the last window
	low    int        // windows spent at the lowest limit, or below
}

// reading is what a window found.
type reading struct {
	mean, busy float64 // nanoseconds, and the calls under way as those began
	limit      int64
}

// NewShedder returns a Shedder that lets MaxLimit calls in until it knows better.
func NewShedder(c ShedConfig) *Shedder {
	s := &Shedder{c: c.withDefaults()}
	s.start = s.c.Now()
	s.limit.Store(int64(s.c.MaxLimit))
	return s
}

// Place is the place of a call that was let in.
type Place struct {
	under int64 // how many calls were under way, itself included
	worth Criticality
}

// Enter returns a place for one more call, and false when it may not be worked
// on. Each place is given back with one Leave. Critical calls do not wait for
// the others to leave: they are as many as the limit beside them.
func (s *Shedder) Enter(c Criticality) (Place, bool) {
	limit := s.limit.Load()
	if c == Critical {
		if s.critical.Add(1) <= limit {
			return Place{s.inFlight.Add(1), c}, true
		}
		s.critical.Add(-1)
	} else {
		if under := s.inFlight.Add(1); under <= c.Share(limit) {
			return Place{under, c}, true
		}
		s.inFlight.Add(-1)
	}
	s.shed[c%3].Add(1)
	return Place{}, false
}

// Demote makes the call of a place a default one, and reports whether there is
// room for it as such. If not it is counted as a refusal; its place is to be
// given back all the same.
func (s *Shedder) Demote(p *Place) bool {
	if p.worth == Critical {
		s.critical.Add(-1)
		p.worth = Default
	}
	if p.under <= Default.Share(s.limit.Load()) {
		return true
	}
	s.shed[Default].Add(1)
	return false
}

// Ending is what the end of a call tells of how long the work takes.
type Ending uint8

const (
	// Untold: nothing, as when the call was refused after a glance.
	Untold Ending = iota
	// Served: it took as long as it took.
	Served
	// Expired: it would have taken longer.
	Expired
)

// Leave ends a call that began at begun and gives its place back.
func (s *Shedder) Leave(p Place, begun time.Time, how Ending) {
	s.inFlight.Add(-1)
	if p.worth == Critical {
		s.critical.Add(-1)
	}
	if how == Untold || p.under > s.limit.Load() { // a critical call beside those that a cut found under way
		return
	}
	now := s.c.Now()
	took, at := now.Sub(begun), int64(now.Sub(s.start))
	if at-int64(took) < s.since.Load() {
		return
	}
	s.took.Add(int64(took))
	s.busy.Add(p.under)
	if how == Expired {
		s.expired.Add(1)
	}
	if s.count.Add(1) >= samplesMin && at >= s.until.Load() && s.mu.TryLock() {
		s.turn(at)
		s.mu.Unlock()
	}
}

// turn ends a window at a time and sets the limit for the next. The counters
// may be a sample apart, which a mean over many does not show.
func (s *Shedder) turn(at int64) {
	n := s.count.Swap(0)
	if n < samplesMin { // another one was faster
		s.count.Add(n)
		return
	}
	now := reading{
		mean: float64(s.took.Swap(0)) / float64(n), busy: float64(s.busy.Swap(0)) / float64(n), limit: s.limit.Load(),
	}
	refused := s.refusals()
	expired := s.expired.Swap(0)
	pressed, censored := refused != s.refuse, expired*10 > n
	s.refuse = refused
	s.until.Store(at + int64(s.c.Window))
	if expired == 0 && (s.normal == 0 || now.mean < s.normal) {
		// The very first calls of a server have met no queue, even when it
		// starts into an overload. A call that ran out of time, of which it may
		// have had little, says nothing of how long it would have taken.
		s.normal = now.mean
	}
	if now.mean <= s.target() {
		s.last, s.low = reading{}, 0
		more := max(now.limit+int64(math.Sqrt(float64(now.limit))), int64(s.c.MinLimit))
		s.limit.Store(min(more, int64(s.c.MaxLimit)))
		return
	}
	s.slow(at, now, pressed, censored)
}

// slow sets the limit after a window that took too long. In one with censored
// samples nobody knows how long the calls would have taken.
func (s *Shedder) slow(at int64, now reading, pressed, censored bool) {
	least := min(int64(s.c.MinLimit), now.limit)
	if censored {
		least = max(least/2, 1)
		s.last = reading{}
	} else if s.last.mean > 0 && !queues(s.last, now) {
		s.normal = now.mean
		s.limit.Store(max(now.limit, s.last.limit))
		s.last, s.low = reading{}, 0
		return
	} else {
		s.last = now
	}
	want := min(now.limit, int64(now.busy*s.target()/now.mean))
	if want > least {
		s.low = 0
	} else if s.low++; s.low%probeEvery == 0 && pressed && !censored {
		// Nothing is left to cut: look whether more calls make it worse at all.
		want = (least*3 + 1) / 2
	}
	s.limit.Store(min(max(want, least), int64(s.c.MaxLimit)))
	s.since.Store(at) // what comes now meets the calls that the new limit allows
	s.until.Store(at + max(int64(s.c.Window), int64(min(now.mean, float64(longestWait)))))
}

// queues reports whether the latency went with the number of calls from one
// window to another, as it does where they wait for each other.
func queues(was, is reading) bool {
	calls, took := is.busy/was.busy-1, is.mean/was.mean-1
	if math.Abs(calls) < 0.2 { // too little to tell
		return true
	}
	return took/calls >= 0.5
}

// target returns the mean latency up to which all is well, in nanoseconds.
func (s *Shedder) target() float64 { return max(tolerance*s.normal, s.normal+float64(s.c.Slack)) }

func (s *Shedder) refusals() (n uint64) {
	for i := range s.shed {
		n += s.shed[i].Load()
	}
	return n
}

// ShedState is how a [Shedder] stands.
type ShedState struct {
	// Limit is how many calls may be under way: default calls come up to nine
	// tenths of it, sheddable ones up to three quarters.
	Limit int64 `json:"limit"`
	// InFlight is how many are.
	InFlight int64 `json:"in_flight"`
	// Normal is the mean latency without load; zero before it is known.
	Normal time.Duration `json:"normal_ns"`
	// Shed counts refusals, by criticality.
	Shed map[string]uint64 `json:"shed,omitempty"`
}

// State tells how the limit stands.
func (s *Shedder) State() ShedState {
	s.mu.Lock()
	normal := s.normal
	s.mu.Unlock()
	st := ShedState{Limit: s.limit.Load(), InFlight: s.inFlight.Load(), Normal: time.Duration(normal)}
	for i := range s.shed {
		if n := s.shed[i].Load(); n > 0 {
			if st.Shed == nil {
				st.Shed = map[string]uint64{}
			}
			st.Shed[Criticality(i).String()] = n
		}
	}
	return st
}
