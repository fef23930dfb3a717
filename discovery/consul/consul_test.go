package consul

import (
	"context"
	"slices"
	"testing"

	"github.com/argosy-go/argosy/discovery"
	"github.com/argosy-go/argosy/discovery/discoverytest"
)

func openAt(t *testing.T, addr string) *consul {
	t.Helper()
	d, err := Opener{}.Open(t.Context(), discovery.OpenOptions{URL: "consul://" + addr})
	if err != nil {
		t.Fatal(err)
	}
	return d.(*consul)
}

func TestConsulKeepsTheContract(t *testing.T) {
	discoverytest.Run(t, func(t *testing.T) discoverytest.Kit {
		s := startStub(t)
		gate := discoverytest.NewGate(t, s.addr())
		return discoverytest.Kit{
			Discovery: openAt(t, gate.Addr()),
			Break:     gate.Break,
			Lose:      func(*testing.T) { s.forgetAll() },
			Mortal: func(t *testing.T) (discovery.Registrar, func()) {
				way := discoverytest.NewGate(t, s.addr())
				return openAt(t, way.Addr()), func() { way.Break(t) }
			},
		}
	})
}

func TestAWatchAsksOnceAndThenWaitsAtTheIndexOfTheAnswer(t *testing.T) {
	s := startStub(t)
	c := openAt(t, s.addr())
	ctx, cancel := context.WithCancel(t.Context())
	got, done := make(chan []string, 10), make(chan struct{})
	go func() {
		defer close(done)
		c.Watch(ctx, "order", nil, func(addrs []string, err error) {
			if err != nil && ctx.Err() == nil {
				t.Error(err)
			}
			got <- addrs
		})
	}()
	if a := <-got; len(a) != 0 {
		t.Error(a)
	}
	if i := <-s.waits; i != 10 {
		t.Errorf("the query waits at index %d, want 10", i)
	}
	l, err := c.Register(t.Context(), discovery.Registration{Service: "order", Addr: "10.0.0.1:9090"})
	if err != nil {
		t.Fatal(err)
	}
	if a := <-got; !slices.Equal(a, []string{"10.0.0.1:9090"}) {
		t.Error(a)
	}
	if i := <-s.waits; i != 11 {
		t.Errorf("the query waits at index %d, want 11", i)
	}
	s.rewind()
	if i := <-s.waits; i != 1 {
		t.Errorf("after the index went back the query waits at %d, want 1", i)
	}
	if err := l.Withdraw(t.Context()); err != nil {
		t.Error(err)
	}
	if a := <-got; len(a) != 0 {
		t.Error(a)
	}
	cancel()
	<-done
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestURLsOfConsul(t *testing.T) {
	c, err := parse("consul://10.0.0.1:8500?dc=west&tls=true")
	if err != nil || c.Address != "10.0.0.1:8500" || c.Scheme != "https" || c.Datacenter != "west" {
		t.Errorf("%+v %v", c, err)
	}
	for _, bad := range []string{"", "consul:", "consul://host", "http://a:1", "consul://a:1?color=red", "consul://a:1?tls=maybe", "consul://u:p@a:1", "consul://a:1/path"} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func FuzzURL(f *testing.F) {
	for _, s := range []string{"consul://a:1", "consul://[::1]:8500?dc=x", "consul://a:1?tls=1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if c, err := parse(raw); err == nil && c.Address == "" {
			t.Errorf("parse(%q) has no address", raw)
		}
	})
}
