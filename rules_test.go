package argosy_test

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/argosy-go/argosy"
	pb "github.com/argosy-go/argosy/docs/guide/greeter/greeterpb"
	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/guard"
	"github.com/argosy-go/argosy/rpc"
	catalogpb "github.com/argosy-go/argosy/shop/gen/catalog/v1"
	orderpb "github.com/argosy-go/argosy/shop/gen/order/v1"
)

// ruled are services whose contracts declare something of everything: order has
// a keyed, a read-only and a streaming method, catalog read-only ones, and
// probe declares nothing.
func ruled() []argosy.Service {
	return []argosy.Service{
		serving("greeter", hello),
		{Name: "order", Setup: func(s *argosy.Setup) error {
			orderpb.RegisterOrdersServer(s, orderpb.UnimplementedOrdersServer{})
			return nil
		}},
		{Name: "catalog", Setup: func(s *argosy.Setup) error {
			catalogpb.RegisterCatalogServer(s, catalogpb.UnimplementedCatalogServer{})
			return nil
		}},
		{Name: "probe", Setup: func(s *argosy.Setup) error {
			healthpb.RegisterHealthServer(s, healthpb.UnimplementedHealthServer{})
			return nil
		}},
	}
}

func TestARuleThatCannotHoldFailsTheStart(t *testing.T) {
	for name, c := range map[string]struct{ args, want string }{
		"a service that is not there":                {"--guard=inventry.attempts=1", `--guard, row inventry: no service and no contract "inventry" is served in this program; there are: catalog, greeter, order, probe`},
		"a method that is not there":                 {"--guard=order/Place.attempts=1", `--guard, row order/Place: order has no method "Place"`},
		"a value out of range":                       {"--guard=order.attempts=0", `flag --guard, key order.attempts: "0" is out of range: it must be 1 to 10`},
		"a call that must not be repeated":           {"--guard=probe/Check.attempts=2", "--guard, key probe/Check.attempts: grpc.health.v1.Health/Check may not be repeated: its contract declares neither idempotency_level nor"},
		"a service of which nothing may be repeated": {"--guard=probe.attempts=2", "may not be repeated"},
		"a hedge of a call with effects":             {"--guard=order/PlaceOrder.hedge-after=10ms", "PlaceOrder may not be hedged: its contract does not declare idempotency_level = NO_SIDE_EFFECTS"},
		"a hedge of a stream":                        {"--guard=order/WatchOrder.hedge-after=10ms", "WatchOrder is a stream, and streams are not hedged"},
		"an attempt's time for a stream":             {"--guard=order/WatchOrder.attempt-timeout=1s", "WatchOrder is a stream"},
		"an attempt longer than the call":            {"--guard=catalog.deadline=1s,catalog.attempt-timeout=1s", "attempt-timeout 1s must be less than the deadline of the call, 1s"},
		"an attempt longer than the contract's call": {"--guard=catalog/GetProduct.attempt-timeout=1h", "attempt-timeout 1h0m0s must be less than the deadline of the call"},
		"a limit above the bulkhead":                 {"--guard=order.bulkhead=10,order/GetOrder.min-limit=11", "row order/GetOrder: argosy.shop.order.v1.Orders/GetOrder: min-limit 11 must be at most the bulkhead, 10"},
		"pauses of retries that shrink":              {"--guard=order.retry.pause=2s", "retry.pause 2s must be at most retry.max-pause, 1s"},
		"pauses of a breaker that shrink":            {"--guard=*.breaker.max-pause=100ms", "breaker.pause 500ms must be at most breaker.max-pause, 100ms"},
		"a budget of one method":                     {"--guard=order/GetOrder.retry-budget=0.5", "key order/GetOrder.retry-budget: the methods of a contract share it: set it for order"},
		"a limit of a stream":                        {"--limits=order/WatchOrder.max-in-flight=5", "--limits, row order/WatchOrder: streams have no limit of their own"},
		"a lowest limit above the highest":           {"--limits=order.max-in-flight=5,order/GetOrder.min-limit=6", "min-limit 6 must be at most max-in-flight, 5"},
		"a limit of a service that is not there":     {"--limits=ordr.max-in-flight=5", `no contract "ordr"`},
		"a caller who is not there":                  {"--quotas=web.rate=5", "--quotas, row web: there is no such kind of caller; there are: user, anonymous, service/greeter, service/order"},
		"a burst without a rate":                     {"--quotas=user.burst=5", "key user.burst: without a rate there is no quota"},
		"no calls at all":                            {"--max-in-flight=0", `flag --max-in-flight: "0" is out of range: it must be 1 to 1000000`},
		"a negative quota":                           {"--quota=-1", "it must be 0 to 1000000"},
		"two mistakes at once":                       {"--guard=order.nonsense=1,order.attempts=99", "attempts"},
	} {
		t.Run(name, func(t *testing.T) {
			p := program(t, ruled()...)
			p.Args = append(p.Args, c.args)
			var errs bytes.Buffer
			p.Stderr = &errs
			if code := argosy.Run(t.Context(), p); code != 2 {
				t.Errorf("the exit code is %d, and that of a usage error is 2", code)
			}
			if !strings.Contains(errs.String(), c.want) {
				t.Errorf("it said %s\nwant %q", errs.String(), c.want)
			}
		})
	}
}

func TestRulesThatHoldAreTaken(t *testing.T) {
	for _, args := range []string{
		"--guard=*.attempts=2",                           // what of it may be repeated is
		"--guard=order.attempts=2,order.hedge-after=5ms", // its reads are hedged, and nothing else
		"--guard=probe/Check.attempts=1",
		"--guard=order/WatchOrder.deadline=1h",
		"--guard=argosy.shop.order.v1.Orders/GetOrder.hedge-after=0s,argosy.shop.order.v1.Orders.bulkhead=5",
		"--limits=*.max-in-flight=100,order/GetOrder.slack=1s",
		"--quotas=service/order.rate=0,user.rate=5,user.burst=1", // one service has none
	} {
		t.Run(args, func(t *testing.T) {
			p := program(t, ruled()...)
			var errs bytes.Buffer
			p.Args, p.Stderr = append(p.Args, "--quota=1", "--describe", args), &errs
			if code := argosy.Run(t.Context(), p); code != 0 {
				t.Errorf("exit code %d: %s", code, errs.String())
			}
		})
	}
}

func TestWhatOperatorsSetStandsAboveCodeAndContract(t *testing.T) {
	file := filepath.Join(t.TempDir(), "fleet.yaml")
	if err := os.WriteFile(file, []byte(`
guard:
  greeter: {attempts: 4, deadline: 2h, retry: {pause: 1ms}}
  greeter/Greet: {attempts: 2}
limits:
  greeter/Greet: {max-in-flight: 77}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	var client pb.GreeterClient
	var attempts atomic.Int64
	var left atomic.Int64
	failing := serving("greeter", func(ctx context.Context, _ string) (string, error) {
		attempts.Add(1)
		if d, ok := ctx.Deadline(); ok {
			left.Store(int64(time.Until(d)))
		}
		return "", fault.New(codes.Unavailable, "AWAY", "away")
	})
	caller := serving("caller", nil, func(s *argosy.Setup) {
		client = argosy.Client(s, pb.NewGreeterClient, rpc.Policies(guard.Config{MaxAttempts: 5, Methods: map[string]guard.MethodConfig{"Greet": {MaxAttempts: 6}}}))
	})
	p := program(t, failing, caller)
	p.Args = append(p.Args, "--config="+file)
	p.Env = func(name string) (string, bool) {
		return "greeter.deadline=3h", name == "ARGOSY_GUARD"
	}
	f := start(t, p)
	if _, err := client.Greet(t.Context(), &pb.GreetRequest{}); err == nil {
		t.Fatal("the call went well")
	}
	if n := attempts.Load(); n != 2 {
		t.Errorf("it was tried %d times: the file says 2 for this method, 4 for its service, and the code more", n)
	}
	if d := time.Duration(left.Load()); d < 2*time.Hour || d > 3*time.Hour {
		t.Errorf("the handler had %s left: the variable says 3h, the file 2h, the contract 10s", d)
	}
	for _, m := range f.ServerState().Methods {
		if m.Method == pb.Greeter_Greet_FullMethodName && m.Limit != 77 {
			t.Errorf("the limit of the method is %d, and the file says 77", m.Limit)
		}
	}
}

func TestARuleOfAServiceHoldsWhereTheContractAllows(t *testing.T) {
	services := append(ruled()[:3:3], serving("caller", nil, func(s *argosy.Setup) { argosy.Client(s, orderpb.NewOrdersClient) }))
	p := program(t, services...)
	p.Args = append(p.Args, "--guard=order.deadline=7s,order.attempt-timeout=3s,order.hedge-after=50ms,order.bulkhead=9")
	f := start(t, p)
	type policies struct{ deadline, attempt, hedge time.Duration }
	want := map[string]policies{
		orderpb.Orders_GetOrder_FullMethodName:   {7 * time.Second, 3 * time.Second, 50 * time.Millisecond},
		orderpb.Orders_PlaceOrder_FullMethodName: {7 * time.Second, 3 * time.Second, 0},
		orderpb.Orders_WatchOrder_FullMethodName: {}, // a stream: none of the three
	}
	for _, m := range shown[argosy.Guards](t, f, "/guards").Clients[0].Methods {
		w, ok := want[m.Method]
		if got := (policies{m.Deadline, m.AttemptTimeout, m.HedgeAfter}); ok && got != w || m.MaxInFlight != 9 {
			t.Errorf("%s has %v and %d in flight, want %v and 9", m.Method, got, m.MaxInFlight, w)
		}
	}
}

func TestQuotasOfKindsOfCallersStandInPlaceOfTheQuota(t *testing.T) {
	p := program(t, serving("greeter", hello))
	p.Args = append(p.Args, "--quota=1000", "--quotas=anonymous.rate=0.001,anonymous.burst=2")
	f := start(t, p)
	var answers []int
	for range 4 {
		code, _ := post(t, "http://"+f.Addrs().HTTP+"/v1/greetings", `{"name":"Ada"}`)
		answers = append(answers, code)
	}
	if answers[1] != http.StatusOK || answers[2] != http.StatusTooManyRequests || answers[3] != http.StatusTooManyRequests {
		t.Errorf("two calls go through and no more, and the answers were %v", answers)
	}
	if n := f.ServerState().OverQuota[rpc.CallerAnonymous]; n != 2 {
		t.Errorf("%d calls of anonymous callers were over their quota, want 2", n)
	}
}
