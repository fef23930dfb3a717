package guard_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/argosy-go/argosy/guard"
)

func TestCriticalitiesAreSentByName(t *testing.T) {
	for _, c := range []guard.Criticality{guard.Default, guard.Sheddable, guard.Critical} {
		if guard.ParseCriticality(c.String()) != c {
			t.Errorf("%v is read as %v", c, guard.ParseCriticality(c.String()))
		}
	}
	if guard.ParseCriticality("urgent") != guard.Default {
		t.Error("an unknown criticality is not the default one")
	}
}

func TestWhatIsWorthLessLeavesRoomAndIsNotStarvedByASmallLimit(t *testing.T) {
	for limit, want := range map[int64][2]int64{1: {1, 1}, 2: {2, 2}, 100: {75, 90}, 2000: {1500, 1800}} {
		if got := [2]int64{guard.Sheddable.Share(limit), guard.Default.Share(limit)}; got != want {
			t.Errorf("of %d places sheddable and default calls get %v, want %v", limit, got, want)
		}
	}
}

// clock is a clock that stands.
type clock struct{ now time.Time }

func (c *clock) read() time.Time { return c.now }

func TestAShedderGivesItsPlacesBack(t *testing.T) {
	c := &clock{time.Unix(1000, 0)}
	s := guard.NewShedder(guard.ShedConfig{MaxLimit: 10, Now: c.read})
	var places []guard.Place
	for _, worth := range []guard.Criticality{guard.Default, guard.Critical} {
		for {
			p, ok := s.Enter(worth)
			if !ok {
				break
			}
			places = append(places, p)
		}
	}
	if len(places) != 9+10 {
		t.Errorf("%d places, want nine default ones and ten critical ones", len(places))
	}
	if s.Demote(&places[18]) {
		t.Error("a critical call was made a default one, for which there is no room")
	}
	if p, ok := s.Enter(guard.Critical); !ok {
		t.Error("a place among the critical ones is free and was not given")
	} else {
		places = append(places, p)
	}
	for _, p := range places {
		s.Leave(p, c.now, guard.Untold)
	}
	if st := s.State(); st.InFlight != 0 || st.Limit != 10 || st.Shed["default"] != 2 || st.Shed["critical"] != 1 {
		t.Errorf("the state says %+v", st)
	}
	for range 10 {
		if _, ok := s.Enter(guard.Critical); !ok {
			t.Fatal("critical places are lost")
		}
	}
}

func TestARateKnowsABoundedNumberOfCallers(t *testing.T) {
	c := &clock{time.Unix(1000, 0)}
	r := guard.NewRate(guard.RateConfig{PerSecond: 1, Burst: 2, MaxCallers: 160, Now: c.read})
	for i := range 100_000 {
		if wait := r.Take(strconv.Itoa(i)); wait != 0 {
			t.Fatalf("the first call of caller %d waits %v", i, wait)
		}
	}
	if n := r.State().Callers; n > 160 {
		t.Errorf("%d callers are known, want at most 160", n)
	}
}

func TestACallerWhoKeepsCallingIsNotForgottenForThoseWhoRest(t *testing.T) {
	c := &clock{time.Unix(1000, 0)}
	r := guard.NewRate(guard.RateConfig{PerSecond: 1, Burst: 10, MaxCallers: 16 * 8, Now: c.read})
	for range 10 {
		r.Take("busy")
	}
	for i := range 10_000 { // each rests after one call, with a bucket fuller than busy's
		r.Take(strconv.Itoa(i))
	}
	if wait := r.Take("busy"); wait != time.Second {
		t.Errorf("the busy caller waits %v: its bucket was forgotten", wait)
	}
}

func TestABucketFillsWithTime(t *testing.T) {
	c := &clock{time.Unix(1000, 0)}
	r := guard.NewRate(guard.RateConfig{PerSecond: 2, Burst: 3, Now: c.read})
	take := func() (n int) {
		for r.Take("a") == 0 {
			n++
		}
		return n
	}
	for _, step := range []struct {
		rest time.Duration
		want int
	}{{0, 3}, {500 * time.Millisecond, 1}, {time.Second, 2}, {time.Hour, 3}} {
		c.now = c.now.Add(step.rest)
		if got := take(); got != step.want {
			t.Errorf("after %v %d calls pass, want %d", step.rest, got, step.want)
		}
	}
	if wait := r.Take("a"); wait != 500*time.Millisecond {
		t.Errorf("the wait is %v", wait)
	}
	var none *guard.Rate
	if none.Take("a") != 0 || guard.NewRate(guard.RateConfig{}) != nil {
		t.Error("no quota is one")
	}
}

func BenchmarkShedder(b *testing.B) {
	s := guard.NewShedder(guard.ShedConfig{})
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			begun := time.Now()
			place, _ := s.Enter(guard.Default)
			s.Leave(place, begun, guard.Served)
		}
	})
}

func BenchmarkRate(b *testing.B) {
	r := guard.NewRate(guard.RateConfig{PerSecond: 1e9})
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			r.Take("service/order")
		}
	})
}
