package argosy_test

import (
	"context"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/discovery"
	pb "github.com/argosy-go/argosy/docs/guide/greeter/greeterpb"
	"github.com/argosy-go/argosy/engine"
)

// shared is a discovery that the fleets of a test share, in memory. It looks
// whether an address is still served as it is withdrawn.
type shared struct {
	discovery.Table
	t         *testing.T
	withdrawn chan string // services, in the order in which they went
}

func (s *shared) Open(context.Context, discovery.OpenOptions) (discovery.Discovery, error) {
	return s, nil
}

func (s *shared) Register(ctx context.Context, r discovery.Registration) (discovery.Lease, error) {
	if !served(s.t, r.Addr) {
		s.t.Errorf("%s was registered before it served", r.Service)
	}
	l, err := s.Table.Register(ctx, r)
	return &sharedLease{l, s, r}, err
}

type sharedLease struct {
	discovery.Lease
	s *shared
	r discovery.Registration
}

func (l *sharedLease) Withdraw(ctx context.Context) error {
	if !served(l.s.t, l.r.Addr) {
		l.s.t.Errorf("%s was withdrawn when it was served no more", l.r.Service)
	}
	l.s.withdrawn <- l.r.Service
	return l.Lease.Withdraw(ctx)
}

// served reports whether an address answers calls.
func served(t *testing.T, addr string) bool {
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Error(err)
		return false
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err = healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	return err == nil
}

// look returns what a discovery says of a service now.
func look(t *testing.T, d discovery.Resolver, service string) []string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []string
	d.Watch(ctx, service, nil, func(addrs []string, err error) {
		got = addrs
		cancel()
	})
	return got
}

func TestProcessesFindEachOtherByADiscovery(t *testing.T) {
	d := &shared{t: t, withdrawn: make(chan string, 10)}
	key := filepath.Join(t.TempDir(), "signer.key")
	var client pb.GreeterClient
	callers := serving("caller", nil, func(s *argosy.Setup) { client = argosy.Client(s, pb.NewGreeterClient) })
	process := func(only string) *argosy.Fleet {
		p := program(t, serving("greeter", hello), callers)
		p.Engines = p.Engines.With(engine.Set{Discoveries: map[string]discovery.Opener{"shared": d}})
		p.Args = append(p.Args, "--only="+only, "--auth-key="+key, "--discovery=shared:")
		f, err := argosy.Start(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	stop := func(f *argosy.Fleet) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := f.Stop(ctx); err != nil {
			t.Error(err)
		}
	}
	caller := process("caller") // it starts before there is anybody to call
	defer stop(caller)
	calls := client // the setup of the next processes declares clients of theirs
	one, two := process("greeter"), process("greeter")
	if got, want := look(t, d, "greeter"), slices.Sorted(slices.Values([]string{one.Addrs().GRPC, two.Addrs().GRPC})); !slices.Equal(got, want) {
		t.Fatalf("the discovery has %v, want %v", got, want)
	}
	if got := look(t, d, "caller"); len(got) != 0 {
		t.Errorf("a service that serves nothing is registered at %v", got)
	}
	greet := func() {
		t.Helper()
		for range 50 {
			if res, err := calls.Greet(t.Context(), &pb.GreetRequest{Name: "Ada"}); err != nil || res.Text != "Hello, Ada" {
				t.Fatalf("%v %v", res, err)
			}
		}
	}
	greet()
	stop(one)
	if got := <-d.withdrawn; got != "greeter" {
		t.Errorf("withdrawn: %s", got)
	}
	if got := look(t, d, "greeter"); !slices.Equal(got, []string{two.Addrs().GRPC}) {
		t.Errorf("after the drain the discovery has %v", got)
	}
	greet()
	stop(two)
	if got := look(t, d, "greeter"); len(got) != 0 {
		t.Errorf("after all drains the discovery has %v", got)
	}
}

func TestTheAdvertisedAddressIsOneThatOthersReach(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want func(addr string) bool
	}{
		"where it listens":                   {nil, func(a string) bool { return host(a) == "127.0.0.1" }},
		"all interfaces: one of the machine": {[]string{"--grpc=:0"}, func(a string) bool { return host(a) != "" && host(a) != "::" && host(a) != "0.0.0.0" }},
		"a host that was set":                {[]string{"--advertise=127.0.0.1", "--grpc=:0"}, func(a string) bool { return host(a) == "127.0.0.1" }},
	} {
		t.Run(name, func(t *testing.T) {
			d := &shared{t: t, withdrawn: make(chan string, 10)}
			p := program(t, serving("greeter", hello))
			p.Engines = p.Engines.With(engine.Set{Discoveries: map[string]discovery.Opener{"shared": d}})
			p.Args = append(append(p.Args, "--discovery=shared:"), c.args...)
			f := start(t, p)
			got := look(t, d, "greeter")
			if len(got) != 1 || !c.want(got[0]) || port(got[0]) != port(f.Addrs().GRPC) {
				t.Errorf("registered at %v, the listener is %s", got, f.Addrs().GRPC)
			}
		})
	}
}

func TestADiscoveryThatCannotBeUsedFailsTheStart(t *testing.T) {
	for url, want := range map[string]string{
		"zookeeper://a:1":   `no adapter for the scheme "zookeeper"; it has: dns`,
		"dns:///order:9090": "{service}",
	} {
		p := program(t, serving("greeter", hello))
		p.Args = append(p.Args, "--discovery="+url)
		_, err := argosy.Start(t.Context(), p)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", url, err, want)
		}
	}
}

func TestPeersMayBeALongerList(t *testing.T) {
	key := filepath.Join(t.TempDir(), "signer.key")
	var client pb.GreeterClient
	callers := serving("caller", nil, func(s *argosy.Setup) { client = argosy.Client(s, pb.NewGreeterClient) })
	greeted := make(chan int, 1)
	var addrs []string
	for i := range 2 {
		p := program(t, serving("greeter", func(ctx context.Context, n string) (string, error) {
			greeted <- i
			return hello(ctx, n)
		}), callers)
		p.Args = append(p.Args, "--only=greeter", "--auth-key="+key)
		addrs = append(addrs, start(t, p).Addrs().GRPC)
	}
	p := program(t, serving("greeter", hello), callers)
	p.Args = append(p.Args, "--only=caller", "--auth-key="+key, "--peers=greeter="+addrs[0]+"|"+addrs[1])
	start(t, p)
	late := time.After(30 * time.Second)
	for seen := map[int]bool{}; len(seen) < len(addrs); seen[<-greeted] = true {
		if _, err := client.Greet(t.Context(), &pb.GreetRequest{Name: "Ada"}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-late:
			t.Fatalf("only these peers are called: %v", seen)
		default:
		}
	}
}

func host(addr string) string {
	h, _, _ := net.SplitHostPort(addr)
	return h
}

func port(addr string) string {
	_, p, _ := net.SplitHostPort(addr)
	return p
}
