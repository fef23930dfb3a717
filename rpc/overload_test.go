package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"

	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/guard"
	"github.com/argosy-go/argosy/rpc"
)

// station is a machine that works on a few calls at once, for a fixed time
// each; the others wait in line, and are worked on in vain when their caller
// has meanwhile gone. Time is that of a synctest bubble.
type station struct {
	pb.UnimplementedTestServiceServer
	workers chan struct{} // nil: as many at once as come, as when a dependency is waited for
	mu      sync.Mutex
	takes   time.Duration
}

func (s *station) EmptyCall(ctx context.Context, in *pb.Empty) (*pb.Empty, error) {
	if s.workers != nil {
		select {
		case s.workers <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		defer func() { <-s.workers }()
	}
	s.mu.Lock()
	takes := s.takes
	s.mu.Unlock()
	<-time.After(takes)
	return in, ctx.Err()
}

func (s *station) slow(takes time.Duration) {
	s.mu.Lock()
	s.takes = takes
	s.mu.Unlock()
}

// stateOf returns how the one method stands that the tests call.
func stateOf(s *rpc.Server) rpc.MethodState {
	all := s.Snapshot().Methods
	return all[slices.IndexFunc(all, func(m rpc.MethodState) bool { return strings.HasSuffix(m.Method, "/EmptyCall") })]
}

// named lets a token say who calls: "service/x" is a service of the fleet.
type named struct{}

func (named) Authenticate(_ context.Context, bearer string) (auth.Principal, error) {
	p := auth.Principal{Subject: bearer}
	p.Service, _ = strings.CutPrefix(bearer, "service/")
	if p.Service == bearer {
		p.Service = ""
	}
	return p, nil
}

func (s *station) client(t *testing.T, c rpc.ServerConfig) (pb.TestServiceClient, *rpc.Server) {
	t.Helper()
	c.Authenticator = named{}
	srv := rpc.NewServer(c)
	if err := srv.Register("station", &pb.TestService_ServiceDesc, s); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(srv.Shutdown(context.Background()), srv.Wait(context.Background())); err != nil {
			t.Error(err)
		}
	})
	return pb.NewTestServiceClient(srv.Conn(rpc.ConnOptions{})), srv
}

// offer is an open-loop load: calls come when they come, whatever becomes of
// the others.
type offer struct {
	perSecond int
	lasts     time.Duration
	warm      time.Duration // of which the first part is not counted
	deadline  time.Duration
	early     time.Duration // before the deadline the caller hangs up; 0: it does not
	metadata  []string
}

// got is what became of an offer.
type got struct {
	offered, good, shed, late int
	took                      []time.Duration // of the good ones
	seconds                   float64
}

func (g *got) rate() float64 { return float64(g.good) / g.seconds }

func (g *got) p99() time.Duration {
	if len(g.took) == 0 {
		return 0
	}
	slices.Sort(g.took)
	return g.took[len(g.took)*99/100]
}

func (o offer) to(t *testing.T, c pb.TestServiceClient) *got {
	g, mu := &got{seconds: (o.lasts - o.warm).Seconds()}, sync.Mutex{}
	var calls sync.WaitGroup
	begin, tick := time.Now(), time.NewTicker(time.Second/time.Duration(o.perSecond))
	defer tick.Stop()
	for now := begin; now.Sub(begin) < o.lasts; now = <-tick.C {
		counts := now.Sub(begin) >= o.warm
		calls.Go(func() {
			ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), o.metadata...), o.deadline)
			defer cancel()
			if o.early > 0 {
				defer time.AfterFunc(o.deadline-o.early, cancel).Stop()
			}
			_, err := c.EmptyCall(ctx, &pb.Empty{})
			took := time.Since(now)
			mu.Lock()
			defer mu.Unlock()
			if !counts {
				return
			}
			g.offered++
			switch e := fault.From(err); {
			case e == nil:
				g.good++
				g.took = append(g.took, took)
			case e.Reason == fault.ReasonOverloaded && e.NotDone && e.RetryAfter > 0:
				g.shed++
			case e.Code == codes.DeadlineExceeded || o.early > 0 && e.Code == codes.Canceled:
				g.late++
			default:
				t.Errorf("a call failed with %v", err)
			}
		})
	}
	calls.Wait()
	return g
}

var user = []string{"authorization", "Bearer user/ann"}

func TestAnOverloadCostsTheServerLittleOfWhatItCanDo(t *testing.T) {
	const capacity = 400 // calls a second: four at once, 10 ms each
	var report strings.Builder
	var peak float64
	for _, times := range []float64{0.5, 0.9, 1, 2, 10} {
		synctest.Test(t, func(t *testing.T) {
			s := &station{workers: make(chan struct{}, 4), takes: 10 * time.Millisecond}
			c, _ := s.client(t, rpc.ServerConfig{})
			g := offer{perSecond: int(times * capacity), lasts: 3 * time.Second, warm: time.Second, deadline: 250 * time.Millisecond, metadata: user}.to(t, c)
			fmt.Fprintf(&report, "%4.1f× offered: %4.0f/s good, %5d shed, %5d late, p99 of the good %v\n", times, g.rate(), g.shed, g.late, g.p99())
			if times <= 1 {
				peak = max(peak, g.rate())
			} else if g.rate() < 0.9*peak {
				t.Errorf("at %.0f× the goodput is %.0f/s, less than 90%% of the healthy peak of %.0f/s", times, g.rate(), peak)
			}
		})
	}
	t.Logf("goodput of a server that can do %d calls a second, callers wait 250 ms:\n%s", capacity, &report)
}

func TestCriticalCallsAreServedWhileOthersFlood(t *testing.T) {
	for _, worth := range []string{"default", "sheddable"} {
		synctest.Test(t, func(t *testing.T) {
			s := &station{workers: make(chan struct{}, 4), takes: 10 * time.Millisecond}
			c, srv := s.client(t, rpc.ServerConfig{})
			var flood, important *got
			var both sync.WaitGroup
			both.Go(func() {
				o := offer{perSecond: 2000, lasts: 3 * time.Second, warm: time.Second, deadline: 500 * time.Millisecond, metadata: append(slices.Clone(user), rpc.CriticalityHeader, worth)}
				flood = o.to(t, c)
			})
			both.Go(func() {
				o := offer{perSecond: 200, lasts: 3 * time.Second, warm: time.Second, deadline: 500 * time.Millisecond,
					metadata: []string{"authorization", "Bearer service/order", rpc.CriticalityHeader, "critical"}}
				important = o.to(t, c)
			})
			both.Wait()
			t.Logf("%s: %d of %d critical calls were served, and %d of the flood's %d", worth, important.good, important.offered, flood.good, flood.offered)
			if important.good*100 < important.offered*99 {
				t.Errorf("of %d critical calls %d were served", important.offered, important.good)
			}
			if n := stateOf(srv); n.Shed[worth] == 0 || n.InFlight != 0 {
				t.Errorf("the state says %+v", n)
			}
		})
	}
}

func TestNobodyOutsideTheFleetIsCriticalBecauseTheySaySo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &station{workers: make(chan struct{}, 1), takes: time.Second}
		c, _ := s.client(t, rpc.ServerConfig{MaxInFlight: 10}) // default calls get nine places
		call := func(bearer string) error {
			ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+bearer, rpc.CriticalityHeader, "critical")
			_, err := c.EmptyCall(ctx, &pb.Empty{})
			return err
		}
		var calls sync.WaitGroup
		for range 9 {
			calls.Go(func() { _ = call("user/ann") })
		}
		synctest.Wait()
		if e := fault.From(call("user/mallory")); e == nil || e.Reason != fault.ReasonOverloaded {
			t.Errorf("a user's call was taken as critical: %v", e)
		}
		calls.Go(func() { _ = call("service/order") })
		synctest.Wait()
		if e := fault.From(call("service/order")); e == nil || e.Reason != fault.ReasonOverloaded {
			t.Errorf("there was an eleventh place: %v", e)
		}
		calls.Wait()
	})
}

func TestWorkThatIsMerelySlowIsNotShed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &station{takes: 50 * time.Millisecond}
		c, srv := s.client(t, rpc.ServerConfig{})
		phase := func(name string, takes time.Duration) {
			s.slow(takes)
			g := offer{perSecond: 200, lasts: 10 * time.Second, deadline: 5 * time.Second, metadata: user}.to(t, c)
			t.Logf("%s: %d of %d good, %d shed, limit %d", name, g.good, g.offered, g.shed, stateOf(srv).Limit)
			// To find out that fewer calls are not faster calls it has to refuse some.
			if float64(g.good) < 0.8*float64(g.offered) {
				t.Errorf("%s: %d of %d calls were served", name, g.good, g.offered)
			}
		}
		phase("a dependency is well", 50*time.Millisecond)
		phase("it is slow", 500*time.Millisecond)
		phase("it is well again", 50*time.Millisecond)
	})
}

// What is ten times slower is offered seven times what it can do, by callers
// who do not wait long enough for the queue that is otherwise always granted.
func TestWhatHasBecomeSlowServesWhatItStillCan(t *testing.T) {
	for name, early := range map[string]time.Duration{"the time of the calls runs out": 0, "callers hang up just before": time.Millisecond} {
		t.Run(name, func(t *testing.T) { testWhatHasBecomeSlow(t, early) })
	}
}

func testWhatHasBecomeSlow(t *testing.T, early time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		s := &station{workers: make(chan struct{}, 4), takes: 40 * time.Millisecond} // 100 a second
		c, srv := s.client(t, rpc.ServerConfig{})
		load := func(lasts, warm time.Duration) *got {
			return offer{perSecond: 70, lasts: lasts, warm: warm, deadline: time.Second, early: early, metadata: user}.to(t, c)
		}
		load(3*time.Second, 0)
		s.slow(400 * time.Millisecond) // 10 a second
		g := load(26*time.Second, 6*time.Second)
		t.Logf("slow: %.1f/s good, %d shed, %d late, limit %d", g.rate(), g.shed, g.late, stateOf(srv).Limit)
		if g.rate() < 0.9*10 {
			t.Errorf("of the 10 that it can do %.1f a second are served", g.rate())
		}
		s.slow(40 * time.Millisecond)
		g = load(6*time.Second, 5*time.Second)
		if g.good != g.offered {
			t.Errorf("five seconds after it is fast again %d of %d calls are served", g.good, g.offered)
		}
	})
}

// waiter waits for a dependency, whose time runs out for one call in five.
type waiter struct {
	pb.UnimplementedTestServiceServer
	calls atomic.Int64
}

func (w *waiter) EmptyCall(_ context.Context, in *pb.Empty) (*pb.Empty, error) {
	if w.calls.Add(1)%5 == 0 {
		<-time.After(500 * time.Millisecond)
		return nil, fault.New(codes.DeadlineExceeded, "ATTEMPT_TIMEOUT", "the dependency took too long")
	}
	<-time.After(20 * time.Millisecond)
	return in, nil
}

func TestTheTimeOfADependencyThatRunsOutIsNoOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := rpc.NewServer(rpc.ServerConfig{Authenticator: named{}})
		if err := srv.Register("waiter", &pb.TestService_ServiceDesc, &waiter{}); err != nil {
			t.Fatal(err)
		}
		g := offer{perSecond: 200, lasts: 10 * time.Second, deadline: 5 * time.Second, metadata: user}.to(t, pb.NewTestServiceClient(srv.Conn(rpc.ConnOptions{})))
		if g.shed*100 > g.offered {
			t.Errorf("of %d calls %d were shed, and the limit is %d", g.offered, g.shed, stateOf(srv).Limit)
		}
		if err := errors.Join(srv.Shutdown(t.Context()), srv.Wait(t.Context())); err != nil {
			t.Error(err)
		}
	})
}

func TestTheLimitRecoversWithinSecondsOfAnOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &station{workers: make(chan struct{}, 50), takes: time.Second} // all its workers are slow: 50/s
		c, _ := s.client(t, rpc.ServerConfig{})
		offer{perSecond: 500, lasts: 8 * time.Second, deadline: 2 * time.Second, metadata: user}.to(t, c)
		s.slow(10 * time.Millisecond) // and fast again: 5,000/s
		g := offer{perSecond: 500, lasts: 6 * time.Second, warm: 5 * time.Second, deadline: 2 * time.Second, metadata: user}.to(t, c)
		if g.good != g.offered {
			t.Errorf("five seconds later %d of %d calls are served", g.good, g.offered)
		}
	})
}

func TestEachCallerHasAQuotaOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, srv := (&station{}).client(t, rpc.ServerConfig{Quota: guard.RateConfig{PerSecond: 10, Burst: 20}})
		caller := func(bearer string) (good int, last *fault.Error) {
			for range 30 {
				ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+bearer)
				if _, err := c.EmptyCall(ctx, &pb.Empty{}); err != nil {
					last = fault.From(err)
				} else {
					good++
				}
			}
			return good, last
		}
		for _, bearer := range []string{"user/ann", "user/bob", "service/order"} {
			good, e := caller(bearer)
			if good != 20 || e.Code != codes.ResourceExhausted || e.Reason != fault.ReasonQuota || !e.NotDone || e.RetryAfter != 100*time.Millisecond || e.HTTPStatus() != 429 {
				t.Errorf("%s: %d calls served, then %+v", bearer, good, e)
			}
		}
		<-time.After(500 * time.Millisecond)
		if good, _ := caller("user/ann"); good != 5 {
			t.Errorf("half a second later %d calls are served, want 5", good)
		}
		if q := srv.Snapshot().Quota; q.Callers != 3 || q.Refused != 3*10+25 {
			t.Errorf("the state says %+v", q)
		}
	})
}
