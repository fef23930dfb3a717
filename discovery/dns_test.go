package discovery_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/argosy-go/argosy/discovery"
	"github.com/argosy-go/argosy/discovery/discoverytest"
)

// first returns what a watch reports first.
func first(t *testing.T, r discovery.Resolver, service string) (addrs []string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	told := false
	r.Watch(ctx, service, nil, func(a []string, e error) {
		if !told {
			addrs, err, told = a, e, true
		}
		cancel()
	})
	if !told {
		t.Fatal("nothing was reported")
	}
	return addrs, err
}

func TestNamesAreLookedUpAsTheTargetSays(t *testing.T) {
	s := discoverytest.StartNameServer(t)
	s.Change(func(z *discoverytest.Zone) {
		z.Hosts = map[string][]string{
			"order.test.": {"127.0.0.3", "127.0.0.2"}, "stock.test.": {"127.0.0.9"},
			"both.test.": {"fd00::1", "127.0.0.1"}, "six.test.": {"fd00::6"},
		}
		z.Services = map[string][]discoverytest.SRV{"_grpc._tcp.order.test.": {
			{Target: "order.test.", Port: 7001, Priority: 1}, {Target: "stock.test.", Port: 7002, Priority: 1}, {Target: "six.test.", Port: 7003, Priority: 2},
		}}
	})
	at := "dns://" + s.Addr() + "/"
	for name, c := range map[string]struct {
		target string
		want   []string
	}{
		"addresses are taken as they are":                     {"10.0.0.2:9090|10.0.0.1:9090|[::1]:80", []string{"10.0.0.1:9090", "10.0.0.2:9090", "[::1]:80"}},
		"a name has all its addresses, with the port":         {at + "order.test.:9090", []string{"127.0.0.2:9090", "127.0.0.3:9090"}},
		"the service is put into the name":                    {at + "{service}.test.:9090", []string{"127.0.0.2:9090", "127.0.0.3:9090"}},
		"several names are one set":                           {at + "order.test.:9090|stock.test.:1", []string{"127.0.0.2:9090", "127.0.0.3:9090", "127.0.0.9:1"}},
		"an endpoint of both families is counted once":        {at + "both.test.:9090", []string{"127.0.0.1:9090"}},
		"a name that has AAAA records only":                   {at + "six.test.:9090", []string{"[fd00::6]:9090"}},
		"SRV records tell host and port, of the best rank":    {at + "_grpc._tcp.order.test.", []string{"127.0.0.2:7001", "127.0.0.3:7001", "127.0.0.9:7002"}},
		"a name that is not there is served by nobody":        {at + "absent.test.:9090", nil},
		"SRV records that are not there are served by nobody": {at + "_grpc._tcp.absent.test.", nil},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := discovery.ParseDNS(c.target)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := first(t, d, "order"); err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%v %v, want %v", got, err, c.want)
			}
		})
	}
}

func TestAnAnswerThatDoesNotFitUDPComesOverTCP(t *testing.T) {
	s := discoverytest.StartNameServer(t)
	s.Change(func(z *discoverytest.Zone) { z.Truncate, z.Hosts["order.test."] = true, []string{"127.0.0.1"} })
	got := make(chan []string)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		dns(t, s, "order.test.:9090").Between(time.Millisecond, time.Hour).Watch(ctx, "order", nil, func(addrs []string, err error) { got <- addrs })
	}()
	if a := <-got; !slices.Equal(a, []string{"127.0.0.1:9090"}) {
		t.Error(a)
	}
	s.Change(func(z *discoverytest.Zone) { z.Hosts["order.test."] = []string{"127.0.0.2"} })
	if a := <-got; !slices.Equal(a, []string{"127.0.0.2:9090"}) {
		t.Error(a)
	}
	cancel()
	<-done
}

// watching starts a watch of a name with this TTL, over TCP where UDP is
// truncated, and returns its server.
func watching(t *testing.T, ttl uint32, truncate bool, longest time.Duration, again <-chan struct{}) *discoverytest.NameServer {
	t.Helper()
	s := discoverytest.StartNameServer(t)
	s.Change(func(z *discoverytest.Zone) {
		z.TTL, z.Truncate, z.Hosts["order.test."] = ttl, truncate, []string{"127.0.0.1"}
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		dns(t, s, "order.test.:9090").Between(time.Millisecond, longest).Watch(ctx, "order", again, func([]string, error) {})
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return s
}

func TestANameIsAskedAgainOnlyWhenItsTTLHasPassed(t *testing.T) {
	hint := make(chan struct{})
	holds := watching(t, 3600, false, time.Hour, hint)
	holdsTCP := watching(t, 3600, true, time.Hour, nil)
	over := watching(t, 0, false, time.Hour, nil)
	bounded := watching(t, 3600, false, 2*time.Millisecond, nil)
	for range 2 { // A and AAAA
		<-holds.Queries()
		<-holdsTCP.Queries() // over UDP
		<-holdsTCP.Queries() // and over TCP
	}
	for range 60 { // 30 lookups each, by when the first would have been asked again as often
		<-over.Queries()
		<-bounded.Queries()
	}
	select {
	case q := <-holds.Queries():
		t.Errorf("%s: asked again though its TTL holds", q)
	case q := <-holdsTCP.Queries():
		t.Errorf("%s over TCP: asked again though its TTL holds", q)
	case hint <- struct{}{}: // a watch that waits takes it
		<-holds.Queries()
	}
}

func TestTargetsThatAreNone(t *testing.T) {
	for _, bad := range []string{
		"", "order", "order:", ":9090", "order:0", "order:70000", "order:9090|", "order:9090||a:1", "a b:9090",
		"dns://name/order:9090", "dns://10.0.0.1:x/order:9090", "dns:///10.0.0.1", "dns:///order..x:1", "dns:///{other}:9090",
	} {
		if _, err := discovery.ParseDNS(bad); err == nil {
			t.Errorf("ParseDNS(%q) succeeded", bad)
		}
	}
	if _, err := (discovery.DNSOpener{}).Open(t.Context(), discovery.OpenOptions{URL: "dns:///order:9090"}); err == nil {
		t.Error("a discovery of all services has no {service} and was opened")
	}
}

func FuzzParseDNS(f *testing.F) {
	for _, s := range []string{"a:1|b:2", "dns:", "dns://[::1]:53/{service}.x:9090", "dns:///_grpc._tcp.order", "[::1]:80", "dns://10.0.0.10/a", "1.2.3.4"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := discovery.ParseDNS(s)
		if (err == nil) == (d == nil) {
			t.Errorf("ParseDNS(%q) = %v, %v", s, d, err)
		}
	})
}
