package argosytest

import (
	"sync/atomic"
	"time"
)

// Clock is the real clock, set forward by as much as a test likes: leases
// expire, timers are due, keys are old. The zero value shows the real time. It
// is safe for concurrent use.
//
// It moves what services read as the time (argosy.Program.Now) and not what
// they wait for: a worker that sleeps for a second still does.
type Clock struct{ ahead atomic.Int64 }

// Now returns the time of the clock.
func (c *Clock) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// Jump sets the clock forward by d; a negative d sets it back, as a correction
// of a machine's clock does.
func (c *Clock) Jump(d time.Duration) { c.ahead.Add(int64(d)) }
