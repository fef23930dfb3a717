package rpc_test

import (
	"net"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/argosy-go/argosy/discovery"
	"github.com/argosy-go/argosy/docs/guide/greeter/greeterpb"
	"github.com/argosy-go/argosy/rpc"
)

// closedPort returns an address where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// observed dials a greeter under the eyes of an Endpoints.
func observed(t *testing.T, d discovery.Resolver, c rpc.BalanceConfig, r prometheus.Registerer) (greeterpb.GreeterClient, *rpc.Endpoints) {
	t.Helper()
	e := rpc.NewEndpoints("test", "greeter", r)
	conn, closer, err := rpc.Dial("greeter", rpc.DialOptions{Discovery: d, Balance: c, Endpoints: e})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := closer.Close(); err != nil {
			t.Error(err)
		}
	})
	return greeterpb.NewGreeterClient(conn), e
}

func TestOperatorsSeeHowEachEndpointStands(t *testing.T) {
	all, addrs := startReplicas(t, 2)
	dead := closedPort(t)
	table := discovery.NewTable(map[string][]string{"greeter": {addrs[0], addrs[1], dead}})
	c, e := observed(t, table, rpc.BalanceConfig{SlowStart: -1, Outlier: rpc.OutlierConfig{Time: time.Hour, MaxTime: time.Hour}}, nil)
	if s := e.State(); len(s.Endpoints) != 0 || s.From != "test" || s.Target != "greeter" {
		t.Errorf("before the first call: %+v", s)
	}
	until(t, "not all replicas were ever called", func() bool { return len(load(t, c, 300, nil)) == 2 })
	all[1].fails.Store(true)
	state := func(addr string) rpc.EndpointState {
		for _, p := range e.State().Endpoints {
			if p.Address == addr {
				return p
			}
		}
		return rpc.EndpointState{}
	}
	until(t, "the failing endpoint was not ejected, or the dead one not found so", func() bool {
		_, _ = c.Greet(t.Context(), &greeterpb.GreetRequest{})
		return state(addrs[1]).State == rpc.EndpointEjected && state(dead).State == rpc.EndpointFailed
	})
	s := e.State()
	if s.Known != 3 || len(s.Endpoints) != 3 || s.Ejections != 1 || s.Connects != 2 || s.ConnectFailures == 0 || s.Policy != rpc.LeastRequest || s.Error != "" {
		t.Errorf("the connection is %+v", s)
	}
	for i, r := range all {
		if p := state(addrs[i]); p.Picks != uint64(r.calls.Load()) || p.InFlight != 0 || p.Since.IsZero() {
			t.Errorf("%s had %d calls, and is told to be %+v", r.addr, r.calls.Load(), p)
		}
	}
	if p := state(addrs[1]); p.Ejections != 1 || time.Until(p.EjectedUntil) <= 0 || p.FailuresInRow < 5 {
		t.Errorf("the ejected one is %+v", p)
	}
	if p := state(dead); p.Picks != 0 || !p.Since.IsZero() {
		t.Errorf("the dead one is %+v", p)
	}
	table.Set("greeter", dead)
	until(t, "nothing is ready, and the error is not told", func() bool {
		s := e.State()
		return s.Error != "" && len(s.Endpoints) == 1
	})
}

func TestAClosedConnectionHasNoEndpoints(t *testing.T) {
	_, addrs := startReplicas(t, 1)
	e := rpc.NewEndpoints("test", "greeter", nil)
	conn, closer, err := rpc.Dial(addrs[0], rpc.DialOptions{Endpoints: e})
	if err != nil {
		t.Fatal(err)
	}
	load(t, greeterpb.NewGreeterClient(conn), 3, nil)
	if n := len(e.State().Endpoints); n != 1 {
		t.Errorf("a target that names its address has %d endpoints", n)
	}
	if err := closer.Close(); err != nil {
		t.Fatal(err)
	}
	if s := e.State(); len(s.Endpoints) != 0 || s.Connects != 1 {
		t.Errorf("after the end: %+v", s)
	}
}
