package rpc

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/status"
)

// channel stands for the connection of grpc-go that owns a balancer. What the
// balancer does over a real one is in balance_test.go; here time is simulated.
type channel struct {
	balancer.ClientConn
	t *testing.T
	b *balance

	mu       sync.Mutex
	state    balancer.State
	conns    map[string]*subconn // that are open
	made     int
	resolves int
}

// subconn is one connection. It becomes what the test says.
type subconn struct {
	balancer.SubConn
	channel  *channel
	addr     string
	listener func(balancer.SubConnState)
	connects []time.Time
}

func newChannel(t *testing.T, c BalanceConfig) *channel {
	ch := &channel{t: t, conns: map[string]*subconn{}}
	ch.b = balancerBuilder{}.Build(ch, balancer.BuildOptions{}).(*balance)
	ch.b.c = c.withDefaults()
	t.Cleanup(ch.b.Close)
	return ch
}

func (ch *channel) NewSubConn(addrs []resolver.Address, o balancer.NewSubConnOptions) (balancer.SubConn, error) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	s := &subconn{channel: ch, addr: addrs[0].Addr, listener: o.StateListener}
	if ch.conns[s.addr] != nil {
		ch.t.Errorf("a second connection to %s", s.addr)
	}
	ch.conns[s.addr] = s
	ch.made++
	return s, nil
}

func (ch *channel) UpdateState(s balancer.State) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.state = s
}

func (ch *channel) ResolveNow(resolver.ResolveNowOptions) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.resolves++
}

func (s *subconn) Connect() {
	s.channel.mu.Lock()
	defer s.channel.mu.Unlock()
	s.connects = append(s.connects, time.Now())
}

func (s *subconn) Shutdown() {
	s.channel.mu.Lock()
	defer s.channel.mu.Unlock()
	delete(s.channel.conns, s.addr)
}

// set gives the balancer this set of endpoints.
func (ch *channel) set(addrs ...string) error {
	var s resolver.State
	for _, a := range addrs {
		s.Endpoints = append(s.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: a}}})
	}
	return ch.b.UpdateClientConnState(balancer.ClientConnState{ResolverState: s})
}

// become changes the state of the connections to these addresses.
func (ch *channel) become(state connectivity.State, addrs ...string) {
	for _, a := range addrs {
		ch.mu.Lock()
		listener := ch.conns[a].listener
		ch.mu.Unlock()
		s := balancer.SubConnState{ConnectivityState: state}
		if state == connectivity.TransientFailure {
			s.ConnectionError = errors.New("connection refused by " + a)
		}
		listener(s)
	}
}

// attempts returns when a connection to addr was tried.
func (ch *channel) attempts(addr string) []time.Time {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return slices.Clone(ch.conns[addr].connects)
}

// pass lets simulated time pass, and what it sets off happen.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// connected has n endpoints that are long connected.
func connected(t *testing.T, c BalanceConfig, addrs ...string) *channel {
	ch := newChannel(t, c)
	if err := ch.set(addrs...); err != nil {
		t.Fatal(err)
	}
	ch.become(connectivity.Ready, addrs...)
	pass(ch.b.c.SlowStart)
	return ch
}

// call makes a call that ends with err, and returns who had it.
func (ch *channel) call(err error) string {
	ch.t.Helper()
	ch.mu.Lock()
	picker := ch.state.Picker
	ch.mu.Unlock()
	r, perr := picker.Pick(balancer.PickInfo{})
	if perr != nil {
		ch.t.Fatalf("pick: %v", perr)
	}
	r.Done(balancer.DoneInfo{Err: err, BytesSent: true, BytesReceived: true})
	return r.SubConn.(*subconn).addr
}

// spread makes n calls, which end as fails says of their endpoint, and returns
// how many each had.
func (ch *channel) spread(n int, fails func(addr string) error) map[string]int {
	got := map[string]int{}
	for range n {
		ch.mu.Lock()
		picker := ch.state.Picker
		ch.mu.Unlock()
		r, err := picker.Pick(balancer.PickInfo{})
		if err != nil {
			ch.t.Fatalf("pick: %v", err)
		}
		addr := r.SubConn.(*subconn).addr
		got[addr]++
		var end error
		if fails != nil {
			end = fails(addr)
		}
		r.Done(balancer.DoneInfo{Err: end, BytesSent: true, BytesReceived: true})
	}
	return got
}

var errAway = status.Error(codes.Unavailable, "away")

// only returns a function that makes calls to one endpoint fail.
func only(bad string) func(string) error {
	return func(addr string) error {
		if addr == bad {
			return errAway
		}
		return nil
	}
}

func TestCallsAreSpreadEvenly(t *testing.T) {
	for _, policy := range []string{LeastRequest, RoundRobin} {
		t.Run(policy, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ch := connected(t, BalanceConfig{Policy: policy}, "a:1", "b:1", "c:1")
				for addr, n := range ch.spread(3000, nil) {
					if n < 800 || n > 1200 {
						t.Errorf("%s had %d of 3000 calls", addr, n)
					}
				}
			})
		})
	}
}

func TestLeastRequestAvoidsAnEndpointThatStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch := connected(t, BalanceConfig{}, "a:1", "b:1", "c:1")
		stuck := 0
		for range 3000 {
			r, _ := ch.state.Picker.Pick(balancer.PickInfo{})
			if r.SubConn.(*subconn).addr == "b:1" {
				stuck++ // its calls do not end
				continue
			}
			r.Done(balancer.DoneInfo{BytesReceived: true})
		}
		if stuck > 1 {
			t.Errorf("%d calls went to an endpoint that answers nothing, want one", stuck)
		}
	})
}

func TestAnEndpointsShareGrowsOverItsSlowStart(t *testing.T) {
	for _, policy := range []string{LeastRequest, RoundRobin} {
		t.Run(policy, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ch := connected(t, BalanceConfig{Policy: policy, SlowStart: 10 * time.Second}, "a:1", "b:1", "c:1")
				if err := ch.set("a:1", "b:1", "c:1", "new:1"); err != nil {
					t.Fatal(err)
				}
				ch.become(connectivity.Ready, "new:1")
				for _, step := range []struct {
					after    time.Duration
					low, top int // of 4000 calls, 1000 are a fair share
				}{{0, 20, 250}, {5 * time.Second, 300, 750}, {5 * time.Second, 850, 1150}} {
					pass(step.after)
					if n := ch.spread(4000, nil)["new:1"]; n < step.low || n > step.top {
						t.Errorf("after %v more: %d of 4000 calls, want %d to %d", step.after, n, step.low, step.top)
					}
				}
				if p := ch.state.Picker.(*picker); p.slow != 0 {
					t.Error("the slow start is over and still looked at")
				}
			})
		})
	}
}

func TestALostConnectionHasNoMoreCallsAndTheSourceIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch := connected(t, BalanceConfig{}, "a:1", "b:1")
		ch.become(connectivity.Idle, "a:1")
		if got := ch.spread(100, nil); got["a:1"] != 0 {
			t.Errorf("calls after the loss: %v", got)
		}
		if ch.resolves != 1 {
			t.Errorf("the resolver was asked %d times to look again", ch.resolves)
		}
	})
}

func TestClientsThatLoseAServerTogetherDoNotComeBackTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const clients = 200
		var all []*channel
		for range clients {
			all = append(all, connected(t, BalanceConfig{SlowStart: time.Second}, "a:1"))
		}
		pass(mostReconnect)
		lost := time.Now()
		quarters := map[int]int{}
		for _, ch := range all {
			ch.become(connectivity.Idle, "a:1")
		}
		pass(firstReconnect)
		for _, ch := range all {
			c := ch.attempts("a:1")
			if len(c) != 2 {
				t.Fatalf("%d attempts, want the first one and one after the loss", len(c))
			}
			quarters[int(4*c[1].Sub(lost)/(firstReconnect+1))]++
		}
		for q := range 4 {
			if quarters[q] < clients/10 {
				t.Errorf("attempts in the quarters of the window: %v of %d, want them spread", quarters, clients)
			}
		}
	})
}

func TestPausesBetweenAttemptsGrowAndStayBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch := connected(t, BalanceConfig{}, "a:1")
		var longest time.Duration
		for range 300 {
			ch.become(connectivity.TransientFailure, "a:1")
			failed := time.Now()
			ch.become(connectivity.Idle, "a:1")
			n := len(ch.attempts("a:1"))
			pass(mostReconnect)
			c := ch.attempts("a:1")
			if len(c) != n+1 {
				t.Fatalf("%d attempts within %v of a failure, want one", len(c)-n, mostReconnect)
			}
			longest = max(longest, c[n].Sub(failed))
		}
		if longest < mostReconnect/2 {
			t.Errorf("the longest of 300 pauses is %v: they did not grow", longest)
		}
	})
}

func TestAnEndpointThatFailsIsEjectedAndComesBackOnProbation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch := connected(t, BalanceConfig{SlowStart: -1}, "a:1", "b:1", "c:1")
		if got := ch.spread(1000, only("b:1")); got["b:1"] != 5 {
			t.Errorf("b failed %d calls, want 5 until it was ejected", got["b:1"])
		}
		pass(5 * time.Second)
		if got := ch.spread(1000, only("b:1")); got["b:1"] != 1 {
			t.Errorf("b failed %d calls on probation, want 1", got["b:1"])
		}
		pass(5 * time.Second) // the second time is twice as long
		if got := ch.spread(1000, nil); got["b:1"] != 0 {
			t.Errorf("b had %d calls half-way through its second ejection", got["b:1"])
		}
		pass(5 * time.Second)
		if got := ch.spread(3000, nil); got["b:1"] < 800 {
			t.Errorf("b is well again and had %d of 3000 calls", got["b:1"])
		}
	})
}

func TestAnEndpointThatComesBackFromAnEjectionStartsSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch := connected(t, BalanceConfig{}, "a:1", "b:1", "c:1")
		ch.spread(200, only("b:1"))
		pass(5 * time.Second)
		if n := ch.spread(3000, nil)["b:1"]; n == 0 || n > 300 {
			t.Errorf("b had %d of 3000 calls as it came back, want a trickle", n)
		}
	})
}

func TestAnEndpointThatFailsMuchMoreThanTheOthersIsEjected(t *testing.T) {
	for name, c := range map[string]struct {
		others  int // one of how many of their calls fails; 0: none
		ejected bool
	}{
		"the others are well":      {0, true},
		"the others fail much too": {2, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ch := connected(t, BalanceConfig{SlowStart: -1}, "a:1", "b:1", "c:1")
				turn := map[string]int{}
				ch.spread(600, func(addr string) error { // never many in a row
					turn[addr]++
					switch n := turn[addr]; {
					case addr == "b:1" && n%3 != 0, addr != "b:1" && c.others > 0 && n%c.others == 0:
						return errAway
					}
					return nil
				})
				pass(5 * time.Second) // the window ends
				if n := ch.spread(600, nil)["b:1"]; (n == 0) != c.ejected {
					t.Errorf("b had %d of 600 calls", n)
				}
			})
		})
	}
}

func TestNoMoreThanAShareIsEjected(t *testing.T) {
	for n, want := range map[int]int{1: 0, 2: 1, 3: 1, 4: 2, 10: 5} {
		t.Run(fmt.Sprint(n, " endpoints"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var addrs []string
				for i := range n {
					addrs = append(addrs, fmt.Sprintf("host%d:1", i))
				}
				ch := connected(t, BalanceConfig{}, addrs...)
				ch.spread(2000, func(string) error { return errAway })
				if got := len(ch.spread(2000, nil)); got != n-want {
					t.Errorf("%d of %d take calls while all fail, want %d", got, n, n-want)
				}
			})
		})
	}
}

func TestWhenAllAreEjectedAllTakeCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch := connected(t, BalanceConfig{Outlier: OutlierConfig{MaxShare: 1}}, "a:1", "b:1", "c:1")
		ch.spread(100, func(string) error { return errAway })
		for addr, p := range ch.b.places {
			if !p.ejected {
				t.Fatalf("%s is not ejected", addr)
			}
		}
		if got := ch.spread(1000, nil); len(got) != 3 {
			t.Errorf("calls while all are ejected: %v", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		ch := connected(t, BalanceConfig{}, "a:1", "b:1")
		ch.spread(100, only("b:1"))
		ch.become(connectivity.Idle, "a:1")
		if got := ch.spread(100, nil); got["b:1"] != 100 {
			t.Errorf("the one that is connected is ejected, and is not called: %v", got)
		}
	})
}

func TestWhatTheEndpointIsNotToBlameForEjectsNobody(t *testing.T) {
	errs := []error{errShed.GRPCStatus().Err(), errDrained.GRPCStatus().Err()}
	for _, code := range []codes.Code{codes.InvalidArgument, codes.NotFound, codes.Canceled, codes.ResourceExhausted, codes.PermissionDenied, codes.FailedPrecondition} {
		errs = append(errs, status.Error(code, ""))
	}
	for _, err := range errs {
		synctest.Test(t, func(t *testing.T) {
			ch := connected(t, BalanceConfig{}, "a:1", "b:1")
			ch.spread(500, func(string) error { return err })
			if got := ch.spread(500, nil); len(got) != 2 {
				t.Errorf("%v: ejected: %v", err, got)
			}
		})
	}
}

func TestAnEndpointThatIsNamedTwiceHasOneConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch := connected(t, BalanceConfig{}, "a:1", "b:1")
		for range 3 {
			if err := ch.set("b:1", "a:1", "b:1", "a:1"); err != nil {
				t.Fatal(err)
			}
		}
		if ch.made != 2 {
			t.Errorf("%d connections were made for 2 endpoints", ch.made)
		}
	})
}

func TestALargeSetIsConnectedToInPartAndThePartIsStable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var addrs []string
		for i := range 100 {
			addrs = append(addrs, fmt.Sprintf("host%d:1", i))
		}
		ch := newChannel(t, BalanceConfig{})
		other := newChannel(t, BalanceConfig{})
		for _, c := range []*channel{ch, other} {
			if err := c.set(addrs...); err != nil {
				t.Fatal(err)
			}
		}
		before := slices.Sorted(maps.Keys(ch.conns))
		if len(before) != 20 {
			t.Fatalf("%d connections, want 20", len(before))
		}
		if slices.Equal(before, slices.Sorted(maps.Keys(other.conns))) {
			t.Error("two clients have the same part")
		}
		gone := before[0]
		addrs = slices.DeleteFunc(addrs, func(a string) bool { return a == gone })
		if err := ch.set(addrs...); err != nil {
			t.Fatal(err)
		}
		kept := 0
		for _, a := range before {
			if ch.conns[a] != nil {
				kept++
			}
		}
		if len(ch.conns) != 20 || kept != 19 {
			t.Errorf("one of 100 went: %d connections, %d of the 20 before, want 20 and 19", len(ch.conns), kept)
		}
	})
}

func TestAnEmptySetTakesNoConnectionThatWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch := connected(t, BalanceConfig{}, "a:1", "b:1")
		if err := ch.set(); !errors.Is(err, balancer.ErrBadResolverState) {
			t.Errorf("an empty set: %v", err)
		}
		if got := ch.spread(100, nil); len(got) != 2 {
			t.Errorf("calls after an empty set: %v", got)
		}
		ch.b.ResolverError(errors.New("the source is away"))
		if got := ch.spread(100, nil); len(got) != 2 {
			t.Errorf("calls after an error of the source: %v", got)
		}
	})
}

func TestCallsWaitForAConnectionAndFailWhenThereIsNoHope(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch := newChannel(t, BalanceConfig{})
		fails := func(want string) {
			t.Helper()
			_, err := ch.state.Picker.Pick(balancer.PickInfo{})
			if err == nil || err.Error() != want {
				t.Errorf("pick: %v, want %s", err, want)
			}
		}
		waits := balancer.ErrNoSubConnAvailable.Error()
		_ = ch.set()
		fails(errNoEndpoints.Error())
		if err := ch.set("a:1"); err != nil {
			t.Fatal(err)
		}
		fails(waits)
		ch.become(connectivity.Connecting, "a:1")
		ch.become(connectivity.TransientFailure, "a:1")
		fails("connection refused by a:1")
		ch.become(connectivity.Idle, "a:1")
		ch.become(connectivity.Connecting, "a:1")
		fails("connection refused by a:1")
		ch.become(connectivity.Ready, "a:1")
		if got := ch.call(nil); got != "a:1" {
			t.Error(got)
		}
		ch.become(connectivity.Idle, "a:1")
		fails(waits) // it was there a moment ago
	})
}

func TestOnlyAConfigThatMakesSenseIsTaken(t *testing.T) {
	for text, ok := range map[string]bool{
		`{}`: true, `{"Policy":"round_robin","SlowStart":1000,"Outlier":{"Failures":3}}`: true,
		`{"Policy":"luck"}`: false, `{"Subset":"many"}`: false, `[`: false,
	} {
		if _, err := (balancerBuilder{}).ParseConfig(json.RawMessage(text)); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func FuzzBalanceConfig(f *testing.F) {
	f.Add(`{"Policy":"round_robin","SlowStart":-1,"Subset":-3,"Outlier":{"Failures":-1,"MaxShare":7}}`)
	f.Fuzz(func(t *testing.T, text string) {
		c, err := balancerBuilder{}.ParseConfig(json.RawMessage(text))
		if err == nil && c.(*parsedConfig).Policy == "" {
			t.Errorf("%s: no policy", text)
		}
	})
}

func TestATallyCountsPicksAndWhatIsUnderWay(t *testing.T) {
	var n tally
	for range 1000 {
		n.pick()
	}
	for range 1000 {
		n.pick()
		n.end()
	}
	if n.under() != 1000 || n.picks() != 2000 {
		t.Errorf("%d under way of %d", n.under(), n.picks())
	}
	n.both.Store(1<<64 - 1<<tallyBits) // the most picks
	n.pick()
	if n.under() != 1 || n.picks() != 0 {
		t.Errorf("%d under way of %d: the count must begin anew without touching what is under way", n.under(), n.picks())
	}
}

func BenchmarkPick(b *testing.B) {
	for _, policy := range []string{LeastRequest, RoundRobin} {
		for name, since := range map[string]time.Time{"steady": {}, "slow start": time.Now()} {
			b.Run(policy+"/"+name, func(b *testing.B) {
				c := BalanceConfig{Policy: policy, SlowStart: time.Hour}.withDefaults()
				owner := &balance{c: c}
				var places []*place
				for range 10 {
					p := newPlace(owner, "")
					p.since = since
					places = append(places, p)
				}
				pick := newPicker(places, c, time.Now())
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						r, _ := pick.Pick(balancer.PickInfo{})
						r.Done(balancer.DoneInfo{BytesReceived: true})
					}
				})
			})
		}
	}
}
