package rpc

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/balancer"
)

// coldShare is the part of its fair share with which an endpoint begins.
const coldShare = 0.1

// picker picks an endpoint for each call. Its list does not change: the balancer
// publishes another picker instead. A pick takes no lock and allocates nothing.
type picker struct {
	places []*place
	robin  bool
	next   atomic.Uint32
	// Only while an endpoint is in its slow start:
	slow  time.Duration // zero: none is
	since []time.Time   // when each began, in the order of places
}

// newPicker returns a picker for endpoints that are connected; the balancer's
// lock is held.
func newPicker(places []*place, c BalanceConfig, now time.Time) *picker {
	p := &picker{places: places, robin: c.Policy == RoundRobin}
	p.next.Store(rand.Uint32()) // clients must not begin with the same one
	for _, e := range places {
		if now.Sub(e.since) < c.SlowStart {
			p.slow = c.SlowStart
		}
	}
	if p.slow > 0 {
		for _, e := range places {
			p.since = append(p.since, e.since)
		}
	}
	return p
}

// Pick implements balancer.Picker.
func (p *picker) Pick(balancer.PickInfo) (balancer.PickResult, error) {
	e := p.choose()
	e.calls.pick()
	return balancer.PickResult{SubConn: e.conn, Done: e.done}, nil
}

func (p *picker) choose() *place {
	n := uint32(len(p.places))
	switch {
	case n == 1:
		return p.places[0]
	case p.slow > 0:
		return p.chooseSlowly(n)
	case p.robin:
		return p.places[p.next.Add(1)%n]
	}
	i, j := two(n)
	return p.lessBusy(i, j)
}

// two draws two different numbers below n, which is at least 2.
func two(n uint32) (i, j uint32) {
	r := rand.Uint64()
	i = uint32(uint64(uint32(r)) * uint64(n) >> 32)
	j = uint32(uint64(uint32(r>>32)) * uint64(n-1) >> 32)
	if j >= i {
		j++
	}
	return i, j
}

func (p *picker) lessBusy(i, j uint32) *place {
	a, b := p.places[i], p.places[j]
	if b.calls.under() < a.calls.under() {
		return b
	}
	return a
}

// chooseSlowly passes over an endpoint in its slow start as often as its share
// is short of a fair one. It never passes over all of them.
func (p *picker) chooseSlowly(n uint32) *place {
	now := time.Now()
	if p.robin {
		i := p.next.Add(1) % n
		for range n - 1 {
			if p.warm(i, now) {
				break
			}
			i = (i + 1) % n
		}
		return p.places[i]
	}
	i, j := two(n)
	for range 3 { // the first draw falls on cold ones only, now and then
		switch a, b := p.warm(i, now), p.warm(j, now); {
		case a && b:
			return p.lessBusy(i, j)
		case a:
			return p.places[i]
		case b:
			return p.places[j]
		}
		i, j = two(n)
	}
	return p.lessBusy(i, j)
}

// warm draws whether an endpoint takes a call, by how long it has been there.
func (p *picker) warm(i uint32, now time.Time) bool {
	share := float64(now.Sub(p.since[i])) / float64(p.slow)
	return share >= 1 || rand.Float64() < max(share, coldShare)
}
