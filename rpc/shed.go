package rpc

import (
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"

	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/guard"
)

var (
	errShed = fault.New(codes.Unavailable, fault.ReasonOverloaded, "the server has too much to do").WithRetryAfter(time.Second).Refused()
)

// gate bounds all calls from outside that a server works on, streams included.
// The limits of the methods adapt; this one is what the machine can hold.
type gate struct {
	most     int64
	inFlight atomic.Int64
	streams  atomic.Int64 // of them, at most half
	shed     [guard.Critical + 1]atomic.Uint64
}

func (g *gate) enter(c guard.Criticality) bool {
	if g.inFlight.Add(1) <= c.Share(g.most) {
		return true
	}
	g.inFlight.Add(-1)
	g.shed[c].Add(1)
	return false
}

// enter takes the places that a call from outside needs, or refuses it.
func (s *Server) enter(c *served, worth guard.Criticality) error {
	if !s.gate.enter(worth) {
		return errShed
	}
	if c.h.stream != nil && s.gate.streams.Add(1) > max(s.gate.most/2, 1) {
		s.gate.streams.Add(-1)
		s.gate.inFlight.Add(-1)
		s.gate.shed[worth].Add(1)
		return errShed // streams last, and those who only call need places too
	}
	if c.h.stream == nil {
		if c.place, c.entered = c.h.shedder.Enter(worth); !c.entered {
			s.gate.inFlight.Add(-1)
			return errShed
		}
	}
	c.entered = true
	return nil
}

// leave gives the places of a call back and lets the limit learn from it.
func (s *Server) leave(c *served, e *fault.Error) {
	if !c.entered {
		return
	}
	s.gate.inFlight.Add(-1)
	if c.h.stream != nil {
		s.gate.streams.Add(-1)
		return
	}
	how := guard.Untold
	switch {
	case c.refused:
	case e == nil:
		how = guard.Served
	case (e.Code == codes.DeadlineExceeded || e.Code == codes.Canceled) && c.outOfTime():
		how = guard.Expired
	}
	c.h.shedder.Leave(c.place, c.begun, how)
}

// outOfTime reports whether hardly any of the call's time is left: it was not
// somebody further down whose time ran out. A caller learns first that it has
// none, and hangs up: here the call is cancelled a moment before its deadline.
func (c *served) outOfTime() bool {
	deadline, ok := c.ctx.Deadline()
	if !ok {
		deadline = c.begun.Add(c.h.Deadline)
	}
	return (ok || c.h.Deadline > 0) && time.Until(deadline) < time.Since(c.begun)/10
}

// worthOf returns what a call is worth: what it says of itself, unless somebody
// who is no service of the fleet says that it is critical.
func (s *Server) worthOf(c *served, claimed guard.Criticality, p auth.Principal) (guard.Criticality, error) {
	if claimed != guard.Critical || p.Service != "" {
		return claimed, nil
	}
	switch {
	case !c.entered:
	case s.gate.inFlight.Load() > guard.Default.Share(s.gate.most):
		s.gate.shed[guard.Default].Add(1)
		return guard.Default, errShed
	case c.h.stream == nil && !c.h.shedder.Demote(&c.place):
		return guard.Default, errShed
	}
	return guard.Default, nil
}

// origin returns the address that a call comes from, without its port: of IPv6
// the network, since whoever has one address there has 2^64. The edges in the
// process say it for those whom they serve.
func origin(c *served) string {
	p, ok := peer.FromContext(c)
	if !ok {
		return ""
	}
	if _, here := p.Addr.(there); here {
		return network(c.one(OriginHeader))
	}
	host, _, err := net.SplitHostPort(p.Addr.String())
	if err != nil {
		return p.Addr.String()
	}
	return network(host)
}

// network returns the /64 that an IPv6 address is in, and other hosts as they are.
func network(host string) string {
	addr, err := netip.ParseAddr(host)
	if err != nil || !addr.Is6() || addr.Is4In6() {
		return host
	}
	prefix, _ := addr.WithZone("").Prefix(64) // 64 is a length of IPv6
	return prefix.String()
}
