package rpc_test

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/argosy-go/argosy/discovery"
	"github.com/argosy-go/argosy/docs/guide/greeter/greeterpb"
	"github.com/argosy-go/argosy/rpc"
)

// replica is one gRPC server of grpc-go's own, on a loopback port.
type replica struct {
	greeterpb.UnimplementedGreeterServer
	addr  string
	srv   *grpc.Server
	calls atomic.Int64
	fails atomic.Bool
}

func (r *replica) Greet(context.Context, *greeterpb.GreetRequest) (*greeterpb.Greeting, error) {
	r.calls.Add(1)
	if r.fails.Load() {
		return nil, status.Error(codes.Unavailable, "this replica is broken")
	}
	return &greeterpb.Greeting{Text: r.addr}, nil
}

func startReplica(t *testing.T, addr string) *replica {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	r := &replica{addr: l.Addr().String(), srv: grpc.NewServer()}
	greeterpb.RegisterGreeterServer(r.srv, r)
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := r.srv.Serve(l); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		r.srv.Stop()
		serving.Wait()
	})
	return r
}

func startReplicas(t *testing.T, n int) (all []*replica, addrs []string) {
	t.Helper()
	for range n {
		r := startReplica(t, "127.0.0.1:0")
		all, addrs = append(all, r), append(addrs, r.addr)
	}
	return all, addrs
}

// greeterClient returns a client with the client chain over a balanced connection.
func greeterClient(t *testing.T, d discovery.Resolver, c rpc.BalanceConfig) greeterpb.GreeterClient {
	t.Helper()
	conn, closer, err := rpc.Dial("greeter", rpc.DialOptions{Discovery: d, Balance: c})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := closer.Close(); err != nil {
			t.Error(err)
		}
	})
	contract, err := rpc.Contract(greeterpb.NewGreeterClient)
	if err != nil {
		t.Fatal(err)
	}
	return greeterpb.NewGreeterClient(rpc.NewClient(rpc.ClientConfig{From: "test", Contract: contract, Transport: conn}))
}

// load calls from several goroutines until they have made n calls, and returns
// how many each replica answered. A call that fails fails the test.
func load(t *testing.T, c greeterpb.GreeterClient, n int64, each func(i int64)) map[string]int {
	t.Helper()
	var made atomic.Int64
	var mu sync.Mutex
	got := map[string]int{}
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for i := made.Add(1); i <= n; i = made.Add(1) {
				if each != nil {
					each(i)
				}
				res, err := c.Greet(t.Context(), &greeterpb.GreetRequest{Name: "Ada"})
				if err != nil {
					t.Errorf("call %d: %v", i, err)
					return
				}
				mu.Lock()
				got[res.Text]++
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	return got
}

// until repeats a step until it is so; what never comes is a failure.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	late := time.Now().Add(30 * time.Second)
	for !so() {
		if time.Now().After(late) {
			t.Fatal(what)
		}
	}
}

func TestNoCallFailsWhenOneOfThreeEndpointsIsKilled(t *testing.T) {
	all, addrs := startReplicas(t, 3)
	c := greeterClient(t, discovery.NewTable(map[string][]string{"greeter": addrs}), rpc.BalanceConfig{SlowStart: -1})
	until(t, "not all replicas were ever called", func() bool {
		return len(load(t, c, 300, nil)) == 3
	})
	load(t, c, 1200, func(i int64) {
		if i == 400 {
			all[1].srv.Stop() // breaks its connections and the calls on them
		}
	})
	if after := load(t, c, 400, nil); after[all[1].addr] != 0 || len(after) != 2 {
		t.Errorf("calls after the death: %v", after)
	}
}

func TestAKilledEndpointIsCalledAgainWhenItIsBack(t *testing.T) {
	all, addrs := startReplicas(t, 2)
	c := greeterClient(t, discovery.NewTable(map[string][]string{"greeter": addrs}), rpc.BalanceConfig{SlowStart: -1})
	load(t, c, 100, nil)
	all[0].srv.Stop()
	load(t, c, 100, nil)
	back := startReplica(t, all[0].addr)
	until(t, "the replica is back and not called", func() bool {
		return load(t, c, 200, nil)[back.addr] > 50
	})
}

// A rolling restart goes on as soon as what was restarted is ready: its callers
// may not have noticed, and must not answer that there is nobody.
func TestWhoLosesItsLastEndpointTriesWhatWasAwayAtOnce(t *testing.T) {
	all, addrs := startReplicas(t, 2)
	seen := rpc.NewEndpoints("test", "greeter", prometheus.NewRegistry())
	conn, closer, err := rpc.Dial("greeter", rpc.DialOptions{Discovery: discovery.NewTable(map[string][]string{"greeter": addrs}), Endpoints: seen})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := closer.Close(); err != nil {
			t.Error(err)
		}
	})
	c := greeterpb.NewGreeterClient(conn) // nothing guards its calls
	call := func() (*greeterpb.Greeting, error) { return c.Greet(t.Context(), &greeterpb.GreetRequest{}) }
	until(t, "an endpoint is not connected", func() bool {
		if _, err := call(); err != nil {
			t.Fatal(err)
		}
		return seen.State().Connects == 2
	})
	all[0].srv.Stop()
	until(t, "the pauses do not grow", func() bool {
		_, _ = call() // one that was under way with the replica may fail
		return seen.State().ConnectFailures > 5
	})
	back := startReplica(t, all[0].addr)
	all[1].srv.GracefulStop()
	if answer, err := call(); err != nil || answer.Text != back.addr {
		t.Errorf("%v, %v; want the answer of the replica that is back", answer, err)
	}
}

func TestANewEndpointGetsItsShareAndOneThatLeftGetsNone(t *testing.T) {
	all, addrs := startReplicas(t, 4)
	table := discovery.NewTable(map[string][]string{"greeter": addrs[:3]})
	c := greeterClient(t, table, rpc.BalanceConfig{SlowStart: 200 * time.Millisecond})
	load(t, c, 300, nil)
	if n := all[3].calls.Load(); n != 0 {
		t.Errorf("%d calls of one that nobody named", n)
	}
	table.Set("greeter", addrs...)
	until(t, "the new replica does not get its share", func() bool {
		return load(t, c, 400, nil)[addrs[3]] > 80
	})
	table.Set("greeter", addrs[1:]...)
	until(t, "the replica that left is still called", func() bool {
		return load(t, c, 400, nil)[addrs[0]] == 0
	})
}

func TestWhenAllEndpointsAreEjectedCallsStillReachThem(t *testing.T) {
	all, addrs := startReplicas(t, 3)
	opts := append(rpc.Balanced(discovery.NewTable(map[string][]string{"greeter": addrs}), rpc.BalanceConfig{
		SlowStart: -1, Outlier: rpc.OutlierConfig{MaxShare: 1, Time: time.Hour, MaxTime: time.Hour},
	}), grpc.WithTransportCredentials(insecure.NewCredentials()))
	conn, err := grpc.NewClient(rpc.Scheme+":///greeter", opts...) // a stock connection
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := greeterpb.NewGreeterClient(conn)
	load(t, c, 300, nil)
	for _, r := range all {
		r.fails.Store(true)
	}
	for range 500 { // far more than eject all
		_, err := c.Greet(t.Context(), &greeterpb.GreetRequest{})
		if status.Convert(err).Message() != "this replica is broken" {
			t.Fatalf("the call did not reach a replica: %v", err)
		}
	}
	for _, r := range all {
		r.fails.Store(false)
	}
	if got := load(t, c, 600, nil); len(got) != 3 {
		t.Errorf("all are well again, and still ejected for an hour: %v", got)
	}
}

func TestAnEndpointThatFailsLosesItsCalls(t *testing.T) {
	all, addrs := startReplicas(t, 3)
	c := greeterClient(t, discovery.NewTable(map[string][]string{"greeter": addrs}), rpc.BalanceConfig{
		SlowStart: -1, Outlier: rpc.OutlierConfig{Time: time.Hour, MaxTime: time.Hour},
	})
	until(t, "not all replicas were ever called", func() bool { return len(load(t, c, 300, nil)) == 3 })
	all[2].fails.Store(true)
	load(t, c, 300, nil) // the retries hide it
	before := all[2].calls.Load()
	load(t, c, 300, nil)
	if n := all[2].calls.Load() - before; n != 0 {
		t.Errorf("%d calls went to a replica that fails all", n)
	}
}

func TestATargetMayBeAListOrAName(t *testing.T) {
	all, addrs := startReplicas(t, 2)
	for _, target := range []string{addrs[0] + "|" + addrs[1], "dns:///" + addrs[0] + "|" + addrs[1]} {
		conn, closer, err := rpc.Dial(target, rpc.DialOptions{})
		if err != nil {
			t.Fatal(err)
		}
		c := greeterpb.NewGreeterClient(conn)
		until(t, target+": not all of the list are called", func() bool { return len(load(t, c, 100, nil)) == len(all) })
		if err := closer.Close(); err != nil {
			t.Error(err)
		}
	}
}
