package rpc

import (
	"hash/maphash"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"

	"github.com/argosy-go/argosy/discovery"
)

// The pauses before a connection that was lost, or could not be made, is tried
// again. All clients of a server lose it in the same instant, so the first
// attempt waits too, for a random part of its window.
const (
	firstReconnect = 100 * time.Millisecond
	mostReconnect  = 2 * time.Second
	trySeldom      = time.Second // between attempts at all endpoints at once
)

// place is one endpoint. What calls touch is atomic; the rest is the balancer's,
// under its lock.
type place struct {
	calls    tally
	failures atomic.Int32  // one after the other
	good     atomic.Uint32 // calls of the window that tell of a sound endpoint
	bad      atomic.Uint32 // and of one that is not
	conn     balancer.SubConn
	done     func(balancer.DoneInfo) // made once, so that a pick allocates nothing
	b        *balance

	addr    string
	state   connectivity.State
	failed  bool // to connect, since it was new or last connected
	gone    bool
	since   time.Time // when it began to take calls
	pauses  discovery.Backoff
	timer   *time.Timer // of the next attempt to connect
	ejected bool
	until   time.Time // ejected
	times   int       // ejected in a row
}

func newPlace(b *balance, addr string) *place {
	p := &place{b: b, addr: addr, pauses: discovery.Backoff{First: firstReconnect, Most: mostReconnect}}
	p.done = p.finish
	return p
}

// connected begins anew: it may be another process.
func (p *place) connected(now time.Time) {
	p.failed, p.ejected, p.times = false, false, 0
	p.since = now
	p.failures.Store(0)
}

// reconnect connects after a pause; one that was connected for long enough
// begins with the shortest.
func (p *place) reconnect(now time.Time) {
	if !p.failed && !p.since.IsZero() && now.Sub(p.since) >= mostReconnect {
		p.pauses.Reset()
	}
	p.timer = time.AfterFunc(p.pauses.Next(), func() {
		p.b.mu.Lock()
		defer p.b.mu.Unlock()
		if !p.gone && p.state == connectivity.Idle {
			p.conn.Connect()
		}
	})
}

// leave closes the connection once its calls have ended.
func (p *place) leave() {
	p.gone = true
	if p.timer != nil {
		p.timer.Stop()
	}
	p.conn.Shutdown()
}

// unique returns the endpoints of a resolver by their first address: however
// often one is named, it has one connection.
func unique(s resolver.State) map[string]resolver.Endpoint {
	all := make(map[string]resolver.Endpoint, len(s.Endpoints))
	for _, e := range s.Endpoints {
		if len(e.Addresses) > 0 {
			all[e.Addresses[0].Addr] = e
		}
	}
	return all
}

// ranked is an endpoint in the order of its hash.
type ranked struct {
	addr string
	rank uint64
}

// subset keeps at most so many endpoints: those that rank highest by a hash of
// this connection's and their own, so that one that comes or goes moves no more
// than itself (rendezvous hashing; Thaler and Ravishankar, IEEE/ACM ToN 6(1), 1998).
func subset(all map[string]resolver.Endpoint, most int, seed maphash.Seed) map[string]resolver.Endpoint {
	if len(all) <= most {
		return all
	}
	ranks := make([]ranked, 0, len(all))
	for addr := range all {
		ranks = append(ranks, ranked{addr, maphash.String(seed, addr)})
	}
	slices.SortFunc(ranks, func(a, b ranked) int {
		if a.rank > b.rank {
			return -1
		}
		return 1
	})
	for _, r := range ranks[most:] {
		delete(all, r.addr)
	}
	return all
}
