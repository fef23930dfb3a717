package argosy

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// How far a heap grows before it is collected: to heapFloor, but to no more than
// mostPercent over what lives, and to no less than what Go has by default.
const (
	heapFloor    = 64 << 20
	leastPercent = 100
	mostPercent  = 400
)

// paceCollector lets the heap of this process grow to heapFloor before it is
// collected. A service with little in memory would be collected dozens of times
// a second under load, and what a collection costs (the stacks of all goroutines
// among it, which also shrink and must grow again) would be a quarter of each
// call. Who has set GOGC or GOMEMLIMIT, in the environment or by package debug,
// has chosen, and nothing is done.
//
// stop restores what was; it is called once.
func paceCollector(env func(string) (string, bool)) (stop func()) {
	chosen := gcPercent() != leastPercent || sample("/gc/gomemlimit:bytes") != math.MaxInt64
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		if env != nil {
			_, set := env(name)
			chosen = chosen || set
		}
	}
	if chosen {
		return func() {}
	}
	p := &pace{percent: leastPercent}
	p.follow()
	return p.stop
}

// pace follows the heap from one collection to the next.
type pace struct {
	mu      sync.Mutex
	stopped bool
	percent int
}

// beat dies at each collection. It has a pointer, since objects without one may
// share their memory with others that live on.
type beat struct{ _ *pace }

// follow sets the percentage that is right for what lives now, and again after
// the next collection.
func (p *pace) follow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return
	}
	p.set(percentOf(sample("/gc/heap/live:bytes")))
	runtime.AddCleanup(&beat{p}, (*pace).follow, p)
}

func (p *pace) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	p.set(leastPercent)
}

// set stops the world for an instant if anything changes; the lock is held.
func (p *pace) set(percent int) {
	if percent != p.percent {
		debug.SetGCPercent(percent)
		p.percent = percent
	}
}

// percentOf returns by how much a heap may grow of which live bytes live: in
// steps, so that a heap that varies a little changes nothing.
func percentOf(live uint64) int {
	const step = 25
	live = max(live, 1)
	if live >= heapFloor {
		return leastPercent
	}
	return min(max(int((heapFloor-live)*100/live)/step*step, leastPercent), mostPercent)
}

func gcPercent() uint64 { return sample("/gc/gogc:percent") }

// sample reads one metric of the runtime.
func sample(name string) uint64 {
	s := []metrics.Sample{{Name: name}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
