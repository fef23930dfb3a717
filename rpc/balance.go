package rpc

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/base"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/serviceconfig"
)

// balancerName is the balancer's name in a gRPC service config.
const balancerName = "argosy"

// grpc-go finds balancers by name in a registry that may be written while
// packages are initialized only, and has no other door. Nothing else is done.
func init() { balancer.Register(balancerBuilder{}) }

// Policies that choose an endpoint for a call.
const (
	// LeastRequest takes the one with fewer calls under way of two drawn at
	// random (Mitzenmacher, "The Power of Two Choices in Randomized Load
	// Balancing", IEEE TPDS 12(10), 2001). Endpoints that are slow, or stand
	// still, get less without being measured.
	LeastRequest = "least_request"
	// RoundRobin takes one after the other.
	RoundRobin = "round_robin"
)

// BalanceConfig configures how a connection spreads its calls over endpoints.
// The zero value is right for most. In a service config it is JSON with the
// fields' names, durations in nanoseconds.
type BalanceConfig struct {
	// Policy is [LeastRequest] or [RoundRobin]. Empty: LeastRequest.
	Policy string `json:",omitempty"`
	// SlowStart is how long the share of an endpoint grows, from a tenth of its
	// fair share to all of it, when it is new or back. Zero: 3 s. Negative: not.
	SlowStart time.Duration `json:",omitempty"`
	// Subset is how many endpoints are connected to, at most: a random choice
	// of this connection's that changes as little as the set does. Zero: 20.
	Subset int `json:",omitempty"`
	// Outlier configures the ejection of endpoints that fail.
	Outlier OutlierConfig `json:",omitzero"`
}

func (c BalanceConfig) withDefaults() BalanceConfig {
	if c.Policy == "" {
		c.Policy = LeastRequest
	}
	if c.SlowStart == 0 {
		c.SlowStart = 3 * time.Second
	}
	if c.Subset <= 0 {
		c.Subset = 20
	}
	c.Outlier = c.Outlier.withDefaults()
	return c
}

var errNoEndpoints = errors.New("no endpoint: the discovery knows of nobody who serves it")

// balancerBuilder builds balancers for grpc-go.
type balancerBuilder struct{}

// Name implements balancer.Builder.
func (balancerBuilder) Name() string { return balancerName }

// Build implements balancer.Builder.
func (balancerBuilder) Build(cc balancer.ClientConn, _ balancer.BuildOptions) balancer.Balancer {
	return &balance{cc: cc, c: BalanceConfig{}.withDefaults(), seed: maphash.MakeSeed(), places: map[string]*place{}}
}

// parsedConfig is a BalanceConfig as grpc-go carries it.
type parsedConfig struct {
	serviceconfig.LoadBalancingConfig `json:"-"`
	BalanceConfig
}

// ParseConfig implements balancer.ConfigParser.
func (balancerBuilder) ParseConfig(text json.RawMessage) (serviceconfig.LoadBalancingConfig, error) {
	var c BalanceConfig
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, fmt.Errorf("balancer %s: %w", balancerName, err)
	}
	if c.Policy != "" && c.Policy != LeastRequest && c.Policy != RoundRobin {
		return nil, fmt.Errorf("balancer %s: the policy %q is neither %s nor %s", balancerName, c.Policy, LeastRequest, RoundRobin)
	}
	return &parsedConfig{BalanceConfig: c.withDefaults()}, nil
}

// balance keeps one connection to each endpoint and tells grpc-go's connection
// how to pick among them. Its methods are called by grpc-go one after the other;
// timers and ends of calls come from elsewhere, so the lock holds them apart.
type balance struct {
	cc   balancer.ClientConn
	seed maphash.Seed // of the subset

	mu     sync.Mutex
	c      BalanceConfig
	places map[string]*place
	err    error // why nothing is ready, as far as known
	closed bool
	next   *time.Timer // publishes again when time alone changes something
	window outlierWindow
	tried  time.Time  // when all endpoints were tried at once
	known  int        // endpoints that the discovery knows
	seen   *Endpoints // by operators; nil: by nobody
}

// UpdateClientConnState implements balancer.Balancer: the set has changed.
//
// An empty set does not take away connections that work: a registry that has
// lost its entries must not stop a fleet that runs.
func (b *balance) UpdateClientConnState(s balancer.ClientConnState) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c, ok := s.BalancerConfig.(*parsedConfig); ok {
		b.c = c.BalanceConfig
	}
	if b.seen = seenBy(s.ResolverState); b.seen != nil {
		b.seen.balance.Store(b)
	}
	all := unique(s.ResolverState)
	b.known = len(all)
	wanted := subset(all, b.c.Subset, b.seed)
	if len(wanted) == 0 {
		if b.err = errNoEndpoints; b.anyReady() {
			return balancer.ErrBadResolverState
		}
	}
	for addr, p := range b.places {
		if _, ok := wanted[addr]; !ok {
			delete(b.places, addr)
			p.leave()
		}
	}
	for addr, e := range wanted {
		if b.places[addr] == nil {
			if err := b.join(addr, e); err != nil {
				b.err = err
			}
		}
	}
	b.publish()
	if len(wanted) == 0 {
		return balancer.ErrBadResolverState // grpc-go asks the resolver again, after pauses
	}
	return nil
}

// join adds an endpoint and connects to it; the lock is held.
func (b *balance) join(addr string, e resolver.Endpoint) error {
	p := newPlace(b, addr)
	conn, err := b.cc.NewSubConn(e.Addresses, balancer.NewSubConnOptions{StateListener: func(s balancer.SubConnState) { b.changed(p, s) }})
	if err != nil {
		return err
	}
	p.conn, b.places[addr] = conn, p
	conn.Connect()
	return nil
}

// changed takes the new state of a connection.
func (b *balance) changed(p *place, s balancer.SubConnState) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || p.gone || s.ConnectivityState == connectivity.Shutdown {
		return
	}
	was := p.state
	p.state = s.ConnectivityState
	switch p.state {
	case connectivity.Ready:
		p.connected(time.Now())
		if b.seen != nil {
			b.seen.connects.Add(1)
		}
	case connectivity.TransientFailure:
		p.failed, b.err = true, s.ConnectionError
		if b.seen != nil {
			b.seen.failures.Add(1)
		}
	case connectivity.Idle:
		if was == connectivity.Ready { // it may have gone for good
			b.cc.ResolveNow(resolver.ResolveNowOptions{})
			if now := time.Now(); !b.anyReady() && now.Sub(b.tried) >= trySeldom {
				b.tried = now
				b.tryOthers(p)
			}
		}
		p.reconnect(time.Now())
	}
	b.publish()
}

// ResolverError implements balancer.Balancer. What is known stays true.
func (b *balance) ResolverError(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.places) == 0 {
		b.err = err
		b.publish()
	}
}

// UpdateSubConnState implements balancer.Balancer. Listeners have taken its place.
func (b *balance) UpdateSubConnState(balancer.SubConn, balancer.SubConnState) {}

// ExitIdle implements balancer.Balancer: who waits for a pause connects now.
func (b *balance) ExitIdle() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.places {
		if p.state == connectivity.Idle {
			p.conn.Connect()
		}
	}
}

// Close implements balancer.Balancer.
func (b *balance) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	if b.seen != nil {
		b.seen.balance.CompareAndSwap(b, nil)
	}
	b.window.close()
	if b.next != nil {
		b.next.Stop()
	}
	for _, p := range b.places {
		p.leave()
	}
	clear(b.places)
}

// tryOthers tries the endpoints that wait for their next attempt as if they had
// never failed: the last connection is lost, and what was away, as in a rolling
// restart, may have been back for most of its pause. Calls wait for what it
// says. It is done seldom, and the pauses of the one that is lost go on growing:
// endpoints that take connections and drop them do not make a storm. The lock is
// held.
func (b *balance) tryOthers(lost *place) {
	now := time.Now()
	for _, p := range b.places {
		if p == lost {
			continue
		}
		p.failed = false
		p.pauses.Reset()
		if p.timer != nil && p.timer.Stop() {
			p.reconnect(now)
		}
	}
}

func (b *balance) anyReady() bool {
	for _, p := range b.places {
		if p.state == connectivity.Ready {
			return true
		}
	}
	return false
}

// publish tells grpc-go's connection how to pick from now on; the lock is held.
func (b *balance) publish() {
	if b.closed {
		return
	}
	now := time.Now()
	next, ready, inside := b.ready(now)
	b.publishAgain(next)
	if len(inside) == 0 {
		inside = ready // all are ejected: better a bad endpoint than none
	}
	switch {
	case len(inside) > 0:
		b.cc.UpdateState(balancer.State{ConnectivityState: connectivity.Ready, Picker: newPicker(inside, b.c, now)})
	case b.anyHope():
		b.cc.UpdateState(balancer.State{ConnectivityState: connectivity.Connecting, Picker: base.NewErrPicker(balancer.ErrNoSubConnAvailable)})
	default:
		b.cc.UpdateState(balancer.State{ConnectivityState: connectivity.TransientFailure, Picker: base.NewErrPicker(b.err)})
	}
}

// ready returns the endpoints that are connected, those of them that are not
// ejected, and when time alone changes either; the lock is held.
func (b *balance) ready(now time.Time) (next time.Time, ready, inside []*place) {
	soon := func(t time.Time) {
		if t.After(now) && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for _, p := range b.places {
		if p.state != connectivity.Ready {
			continue
		}
		if p.ejected && !p.until.After(now) {
			p.restore(now)
		}
		ready = append(ready, p)
		if p.ejected {
			soon(p.until)
			continue
		}
		inside = append(inside, p)
		soon(p.since.Add(b.c.SlowStart))
	}
	return next, ready, inside
}

// anyHope reports whether a call should wait: an endpoint has not failed to
// connect since it was new, or last connected. The lock is held.
func (b *balance) anyHope() bool {
	for _, p := range b.places {
		if !p.failed {
			return true
		}
	}
	return len(b.places) == 0 && b.err == nil
}

// publishAgain publishes at a time; zero: no need to. The lock is held.
func (b *balance) publishAgain(at time.Time) {
	if b.next != nil {
		b.next.Stop()
		b.next = nil
	}
	if !at.IsZero() {
		b.next = time.AfterFunc(time.Until(at), func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.publish()
		})
	}
}
