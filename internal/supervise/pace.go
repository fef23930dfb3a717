package supervise

import (
	"cmp"
	"math/rand/v2"
	"time"
)

// Pace is how often things are tried. The zero value is right for most.
type Pace struct {
	// First is the pause before the first restart; each further one is twice
	// as long, up to Longest. Zero: 200 ms and 10 s. The pauses are scattered
	// between half and the whole, so that what died together does not start
	// together for ever.
	First, Longest time.Duration
	// Settled is how long a process must have been ready for its next death to
	// count as the first. Zero: 30 s.
	Settled time.Duration
	// Poll is the time between questions whether a process is ready, until it
	// is; Watch is the time afterwards. Zero: 20 ms and 1 s.
	Poll, Watch time.Duration
}

// orDefaults fills in what is not set.
func (p Pace) orDefaults() Pace {
	p.First, p.Longest = cmp.Or(p.First, 200*time.Millisecond), cmp.Or(p.Longest, 10*time.Second)
	p.Settled = cmp.Or(p.Settled, 30*time.Second)
	p.Poll, p.Watch = cmp.Or(p.Poll, 20*time.Millisecond), cmp.Or(p.Watch, time.Second)
	return p
}

// pause returns how long to wait before a restart, after so many deaths in a
// row, the last one included.
func (p Pace) pause(deaths int) time.Duration {
	d := p.First
	for i := 1; i < deaths && d < p.Longest; i++ {
		d *= 2
	}
	d = min(d, p.Longest)
	return d/2 + rand.N(d/2+1)
}
