package argosy

import (
	"math"
	"runtime"
	"runtime/debug"
	"testing"
)

func TestHowFarAHeapGrows(t *testing.T) {
	for name, c := range map[string]struct {
		live uint64
		want int
	}{
		"before anything was collected":           {0, 400},
		"a small one to five times what lives":    {4 << 20, 400},
		"one that comes near the floor, up to it": {16 << 20, 300},
		"in steps":                           {17 << 20, 275},
		"one of half the floor as Go has it": {32 << 20, 100},
		"a large one as Go has it":           {1 << 30, 100},
		"one of just the floor as Go has it": {heapFloor, 100},
	} {
		if got := percentOf(c.live); got != c.want {
			t.Errorf("%s: %d %%, want %d", name, got, c.want)
		}
	}
}

func TestTheCollectorFollowsTheHeapAndIsLeftAsItWas(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(leastPercent))
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(math.MaxInt64))
	runtime.GC()
	stop := paceCollector(nil)
	if got, live := gcPercent(), sample("/gc/heap/live:bytes"); got != uint64(percentOf(live)) {
		t.Errorf("%d %% with %d bytes alive, want %d", got, live, percentOf(live))
	}
	ballast := make([]byte, heapFloor)
	for gcPercent() != leastPercent { // what follows a collection runs beside us
		runtime.GC()
	}
	runtime.KeepAlive(ballast)
	stop()
	if got := gcPercent(); got != leastPercent {
		t.Errorf("%d %% afterwards", got)
	}
	runtime.GC()
	runtime.GC()
	if got := gcPercent(); got != leastPercent {
		t.Errorf("%d %% after it was stopped and the heap was collected", got)
	}
}

func TestWhoHasChosenIsLeftAlone(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(leastPercent))
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(math.MaxInt64))
	nothing := func() {}
	for name, c := range map[string]struct {
		env    string
		choose func() (undo func())
		want   uint64
	}{
		"by GOGC":       {"GOGC", func() func() { return nothing }, leastPercent},
		"by GOMEMLIMIT": {"GOMEMLIMIT", func() func() { return nothing }, leastPercent},
		"by a percentage": {"", func() func() {
			was := debug.SetGCPercent(150)
			return func() { debug.SetGCPercent(was) }
		}, 150},
		"by a limit": {"", func() func() {
			was := debug.SetMemoryLimit(1 << 40)
			return func() { debug.SetMemoryLimit(was) }
		}, leastPercent},
	} {
		undo := c.choose()
		stop := paceCollector(func(name string) (string, bool) { return "100", name == c.env })
		if got := gcPercent(); got != c.want {
			t.Errorf("%s: %d %%, want %d", name, got, c.want)
		}
		stop()
		undo()
	}
}
