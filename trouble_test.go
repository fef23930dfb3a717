package argosy_test

import (
	"context"
	"encoding/json"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/auth"
	pb "github.com/argosy-go/argosy/docs/guide/greeter/greeterpb"
	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/rpc"
	catalogpb "github.com/argosy-go/argosy/shop/gen/catalog/v1"
)

// metric returns the value of a series in /metrics, as in
// `argosy_endpoints{service="a",target="b"}`; -1: there is none.
func metric(t *testing.T, f *argosy.Fleet, series string) float64 {
	t.Helper()
	_, body := get(t, "http://"+f.Addrs().Admin+"/metrics")
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` (\S+)$`).FindStringSubmatch(body)
	if m == nil {
		return -1
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// shown decodes what the admin listener answers.
func shown[T any](t *testing.T, f *argosy.Fleet, path string) (v T) {
	t.Helper()
	code, body := operator(t, f, "GET", path, "")
	if err := json.Unmarshal([]byte(body), &v); err != nil || code != 200 {
		t.Fatalf("%s: %d %v %s", path, code, err, body)
	}
	return v
}

// unused returns an address where nobody listens.
func unused(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestTheCallersOfAServiceInTroubleShowIt(t *testing.T) {
	var client pb.GreeterClient
	broken := serving("greeter", func(context.Context, string) (string, error) {
		return "", fault.New(codes.Unavailable, "DISK_FULL", "no")
	})
	caller := serving("caller", nil, func(s *argosy.Setup) {
		client = argosy.Client(s, pb.NewGreeterClient, rpc.Fallback(pb.Greeter_Greet_FullMethodName,
			func(context.Context, *pb.GreetRequest, error) (*pb.Greeting, error) {
				return &pb.Greeting{Text: "instead"}, nil
			}))
	})
	key := filepath.Join(t.TempDir(), "signer.key")
	here := program(t, broken, caller)
	here.Args = append(here.Args, "--only=greeter", "--auth-key="+key)
	far, other := start(t, here), ""
	again := program(t, broken, caller)
	again.Args = append(again.Args, "--only=greeter", "--auth-key="+key)
	other = start(t, again).Addrs().GRPC
	dead := unused(t)
	there := program(t, broken, caller)
	there.Args = append(there.Args, "--only=caller", "--auth-key="+key, "--peers=greeter="+far.Addrs().GRPC+"|"+other+"|"+dead,
		"--guard=greeter.retry.pause=1ms,greeter.retry.max-pause=1ms,greeter.breaker.pause=10m,greeter.breaker.max-pause=10m,greeter.deadline=20s")
	near := start(t, there)
	for range 40 {
		if res, err := client.Greet(t.Context(), &pb.GreetRequest{}); err != nil || res.Text != "instead" {
			t.Fatal(res, err)
		}
	}

	const of = `{method="/argosy.guide.greeter.v1.Greeter/Greet",service="caller"}`
	for series, least := range map[string]float64{
		"argosy_guard_breaker_state" + of:                                                      1,
		"argosy_guard_retries_total" + of:                                                      5,
		"argosy_guard_retries_over_budget_total" + of:                                          1,
		"argosy_guard_breaker_refused_total" + of:                                              1,
		"argosy_guard_fallbacks_total" + of:                                                    40,
		"argosy_guard_in_flight" + of:                                                          0,
		"argosy_guard_limit" + of:                                                              32,
		"argosy_guard_bulkhead_refused_total" + of:                                             0,
		"argosy_guard_limit_refused_total" + of:                                                0,
		"argosy_guard_hedges_total" + of:                                                       0,
		"argosy_guard_hedges_won_total" + of:                                                   0,
		`argosy_guard_retry_budget{service="caller",target="argosy.guide.greeter.v1.Greeter"}`: 0,
		`argosy_guard_breaker_transitions_total{method="/argosy.guide.greeter.v1.Greeter/Greet",service="caller",to="open"}`:   1,
		`argosy_guard_breaker_transitions_total{method="/argosy.guide.greeter.v1.Greeter/Greet",service="caller",to="closed"}`: 0,
		`argosy_endpoints{service="caller",state="ejected",target="greeter"}`:                                                  1,
		`argosy_endpoints{service="caller",state="ready",target="greeter"}`:                                                    1,
		`argosy_endpoints{service="caller",state="failed",target="greeter"}`:                                                   1,
		`argosy_endpoint_ejections_total{service="caller",target="greeter"}`:                                                   1,
		`argosy_endpoint_connects_total{service="caller",target="greeter"}`:                                                    2,
		`argosy_endpoint_connect_failures_total{service="caller",target="greeter"}`:                                            1,
	} {
		if got := metric(t, near, series); got < least {
			t.Errorf("%s is %v, want %v or more", series, got, least)
		}
	}

	guards := shown[argosy.Guards](t, near, "/guards")
	m := guards.Clients[0].Methods[0]
	if m.Breaker.State != "open" || m.Breaker.Times != 1 || m.Breaker.Opened == nil || m.Retries == 0 || m.OverBudget == 0 || !m.Fallback || m.Fallbacks != 40 || m.Deadline.Seconds() != 20 {
		t.Fatalf("the guard is %+v", m)
	}
	if o := m.Breaker.Opened; o.Code != "Unavailable" || o.Reason != "DISK_FULL" || o.Service != "greeter" || o.Failures*2 < o.Calls || !o.Until.After(o.At) {
		t.Errorf("the breaker opened because of %+v", o)
	}
	conns := shown[argosy.Connections](t, near, "/endpoints").Connections
	if len(conns) != 1 || conns[0].From != "caller" || conns[0].Target != "greeter" || len(conns[0].Endpoints) != 3 {
		t.Fatalf("the connections are %+v", conns)
	}
	states := map[string]string{}
	for _, e := range conns[0].Endpoints {
		states[e.Address] = e.State
	}
	if states[dead] != rpc.EndpointFailed {
		t.Errorf("the endpoints are %v, and nobody listens at %s", states, dead)
	}
}

func TestAServerInTroubleShowsIt(t *testing.T) {
	begun, end := make(chan struct{}, 8), make(chan struct{})
	slow := serving("greeter", func(context.Context, string) (string, error) {
		begun <- struct{}{}
		<-end
		return "late", nil
	})
	p := program(t, slow)
	p.Args = append(p.Args, "--limits=greeter/Greet.max-in-flight=1", "--max-in-flight=3", "--quotas=anonymous.rate=0.001,anonymous.burst=2")
	f := start(t, p)
	var held sync.WaitGroup
	held.Go(func() { post(t, "http://"+f.Addrs().HTTP+"/v1/greetings", `{"name":"Ada"}`) })
	<-begun
	if code, _ := post(t, "http://"+f.Addrs().HTTP+"/v1/greetings", `{"name":"Ada"}`); code != 503 {
		t.Errorf("a call over the limit of its method got %d", code)
	}
	if n := metric(t, f, `argosy_rpc_server_in_flight{method="/argosy.guide.greeter.v1.Greeter/Greet",service="greeter"}`); n != 1 {
		t.Errorf("%v calls are under way", n)
	}
	close(end)
	held.Wait()
	for range 3 {
		post(t, "http://"+f.Addrs().HTTP+"/v1/greetings", `{"name":"Ada"}`)
	}
	for series, want := range map[string]float64{
		`argosy_rpc_server_limit{method="/argosy.guide.greeter.v1.Greeter/Greet",service="greeter"}`:                              1,
		`argosy_rpc_server_in_flight{method="/argosy.guide.greeter.v1.Greeter/Greet",service="greeter"}`:                          0,
		`argosy_rpc_server_shed_total{criticality="default",method="/argosy.guide.greeter.v1.Greeter/Greet",service="greeter"}`:   1,
		`argosy_rpc_server_shed_total{criticality="sheddable",method="/argosy.guide.greeter.v1.Greeter/Greet",service="greeter"}`: 0,
		`argosy_rpc_server_full_total{criticality="default"}`:                                                                     0,
		`argosy_rpc_server_over_quota_total{caller="anonymous"}`:                                                                  2, // of five calls one was shed before, and two are the burst
		`argosy_rpc_server_floods_total`: 0,
	} {
		if got := metric(t, f, series); got != want {
			t.Errorf("%s is %v, want %v", series, got, want)
		}
	}
	st := shown[argosy.Guards](t, f, "/guards").Server
	if st.OverQuota["anonymous"] != 2 || st.Quotas["anonymous"].PerSecond != 0.001 || st.Methods[0].Limit != 1 || st.Methods[0].Shed["default"] != 1 || st.MaxInFlight != 3 {
		t.Errorf("the server is %+v", st)
	}
}

func TestCallersOverTheirQuotaAreServicesByNameAndUsersTogether(t *testing.T) {
	p := program(t, serving("greeter", hello))
	p.Args = append(p.Args, "--quota=0.001", "--quotas=user.rate=0.001,user.burst=1,service/greeter.rate=0.001,service/greeter.burst=1")
	key := filepath.Join(t.TempDir(), "signer.key")
	p.Args = append(p.Args, "--auth-key="+key)
	f := start(t, p)
	signer, err := auth.OpenSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(f.Addrs().GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := pb.NewGreeterClient(conn)
	for _, who := range []auth.Principal{{Subject: "lovelace"}, {Subject: "babbage"}, {Subject: "service/greeter", Service: "greeter", Roles: []string{auth.RoleService}}} {
		token, _, err := signer.Sign(who, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
		for i := range 3 {
			_, err := client.Greet(ctx, &pb.GreetRequest{})
			if over := fault.From(err); (i == 0) != (err == nil) || err != nil && over.Reason != fault.ReasonQuota {
				t.Errorf("call %d of %s: %v", i, who.Subject, err)
			}
		}
	}
	if _, body := get(t, "http://"+f.Addrs().Admin+"/metrics"); strings.Contains(body, "lovelace") || strings.Contains(body, "babbage") {
		t.Error("users are in the metrics by name, of whom there may be millions")
	}
	for caller, want := range map[string]float64{"user": 4, "service/greeter": 2} {
		if got := metric(t, f, `argosy_rpc_server_over_quota_total{caller="`+caller+`"}`); got != want {
			t.Errorf("%v refusals of %s, want %v", got, caller, want)
		}
	}
}

// half is a catalog whose first answer to each request is late.
type half struct {
	catalogpb.UnimplementedCatalogServer
	asked atomic.Int64
}

func (h *half) GetProduct(ctx context.Context, req *catalogpb.GetProductRequest) (*catalogpb.Product, error) {
	if h.asked.Add(1)%2 == 1 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &catalogpb.Product{Id: req.Id}, nil
}

func TestHedgesThatOperatorsTurnedOnAreCounted(t *testing.T) {
	var client catalogpb.CatalogClient
	catalog := argosy.Service{Name: "catalog", Setup: func(s *argosy.Setup) error {
		catalogpb.RegisterCatalogServer(s, &half{})
		return nil
	}}
	p := program(t, catalog, serving("caller", nil, func(s *argosy.Setup) { client = argosy.Client(s, catalogpb.NewCatalogClient) }))
	p.Args = append(p.Args, "--guard=catalog/GetProduct.hedge-after=1ms")
	f := start(t, p)
	if _, err := client.GetProduct(t.Context(), &catalogpb.GetProductRequest{Id: "p"}); err != nil {
		t.Fatal(err)
	}
	const of = `{method="/argosy.shop.catalog.v1.Catalog/GetProduct",service="caller"}`
	if a, b := metric(t, f, "argosy_guard_hedges_total"+of), metric(t, f, "argosy_guard_hedges_won_total"+of); a != 1 || b != 1 {
		t.Errorf("%v hedges, of which %v won", a, b)
	}
}
