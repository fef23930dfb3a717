package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/argosy-go/argosy"
	pb "github.com/argosy-go/argosy/docs/guide/greeter/greeterpb"
	"github.com/argosy-go/argosy/guard"
	"github.com/argosy-go/argosy/rpc"
)

// adminOf serves the guards and endpoints of a program in trouble.
func adminOf(t *testing.T) string {
	t.Helper()
	g, c := troubled()
	mux := http.NewServeMux()
	for path, v := range map[string]any{"/guards": g, "/endpoints": c} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(v)
		})
	}
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return srv.URL
}

// troubled is a program whose calls of payment fail.
func troubled() (argosy.Guards, argosy.Connections) {
	calm := guard.MethodState{From: "order", Method: "/shop.inventory.v1.Inventory/Reserve", Breaker: guard.BreakerState{State: "closed"}, InFlight: 2, MaxInFlight: 1000, Limit: 1000, MaxAttempts: 3}
	open := guard.MethodState{
		From: "order", Method: "/shop.payment.v1.Payment/Capture", MaxInFlight: 1000, Limit: 64, LimitRefused: 5, MaxAttempts: 3, Retries: 10, OverBudget: 3,
		Breaker: guard.BreakerState{State: "open", Refused: 70, Times: 1, Opened: &guard.Opening{At: at, Until: at.Add(time.Second), Calls: 20, Failures: 12, Code: "Unavailable", Reason: "BANK_AWAY", Service: "payment"}},
	}
	g := argosy.Guards{
		Clients: []rpc.ClientState{
			{Target: "shop.inventory.v1.Inventory", Service: "inventory", Budget: 10, Methods: []rpc.CallState{{MethodState: calm}}},
			{Target: "shop.payment.v1.Payment", Service: "payment", Budget: 0.3, Methods: []rpc.CallState{{MethodState: open, Fallback: true, Fallbacks: 4}}},
		},
		Server: rpc.ServerState{MaxInFlight: 2000, Methods: []rpc.MethodState{
			{Service: "order", Method: "/shop.order.v1.Orders/GetOrder", ShedState: guard.ShedState{Limit: 2000, InFlight: 1}},
			{Service: "order", Method: "/shop.order.v1.Orders/PlaceOrder", ShedState: guard.ShedState{Limit: 32, InFlight: 29, Shed: map[string]uint64{"default": 6, "sheddable": 1}}},
		}},
	}
	return g, argosy.Connections{Connections: []rpc.EndpointsState{{From: "order", Target: "payment", Known: 2, Endpoints: []rpc.EndpointState{
		{Address: "10.0.0.1:9090", State: rpc.EndpointReady, Since: at, InFlight: 1, Picks: 90},
		{Address: "10.0.0.2:9090", State: rpc.EndpointEjected, Since: at, EjectedUntil: at.Add(5 * time.Second), Picks: 12},
	}}}}
}

// asks runs argosy and returns what it printed.
func asks(t *testing.T, want int, args ...string) (out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	none := func(string) (string, bool) { return "", false }
	if got := run(context.Background(), args, strings.NewReader(""), &o, &e, none); got != want {
		t.Fatalf("exit code %d, want %d\n%s%s", got, want, o.String(), e.String())
	}
	return o.String(), e.String()
}

func TestGuardsInTroubleComeFirst(t *testing.T) {
	admin := adminOf(t)
	const want = `
FROM   METHOD                               BREAKER  OPENED                                                               UNDER WAY  BUDGET  RETRIED  REFUSED  HEDGED  FALLBACKS
order  shop.payment.v1.Payment/Capture      open     2026-01-31T08:00:00Z: 12 of 20 failed, the last with BANK_AWAY  0/64       0       10       75       -       4
order  shop.inventory.v1.Inventory/Reserve  closed   -                                                                    2/1000     10      -        -        -       -

FROM   SERVICE  ENDPOINT       STATE    SINCE                      UNDER WAY  CALLS
order  payment  10.0.0.2:9090  ejected  back 2026-01-31T08:00:05Z  0          12
order  payment  10.0.0.1:9090  ready    2026-01-31T08:00:00Z       1          90

SERVICE  METHOD                           UNDER WAY  SHED
order    shop.order.v1.Orders/PlaceOrder  29/32      7
order    shop.order.v1.Orders/GetOrder    1/2000     -
`
	out, errs := asks(t, exitOK, "guards", "--admin", admin)
	if fold(out) != fold(want[1:]) || errs != "" {
		t.Errorf("it printed\n%s%s\nwant%s", out, errs, want)
	}
}

// fold makes runs of spaces one.
func fold(text string) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		lines[i] = strings.Join(strings.Fields(l), " ")
	}
	return strings.Join(lines, "\n")
}

func TestGuardsOfSeveralProgramsSayWhose(t *testing.T) {
	one, two := adminOf(t), adminOf(t)
	nobody, err := closedPort()
	if err != nil {
		t.Fatal(err)
	}
	out, errs := asks(t, exitOK, "guards", "--service", "payment", "--admin", one+","+two+",http://"+nobody)
	for _, admin := range []string{one, two} {
		if at := strings.TrimPrefix(admin, "http://"); strings.Count(out, "\n"+at+" ") != 3 { // one method and two endpoints
			t.Errorf("the rows of %s are not its own:\n%s", at, out)
		}
	}
	if strings.Contains(out, "inventory") || strings.Contains(out, "GetOrder") {
		t.Errorf("it was asked about payment alone:\n%s", out)
	}
	if !strings.Contains(errs, "nobody answers") {
		t.Errorf("the program that does not answer is not told: %q", errs)
	}
}

func TestGuardsForProgramsAreWhole(t *testing.T) {
	out, _ := asks(t, exitOK, "guards", "--admin", adminOf(t), "--output", "json")
	var v struct {
		Programs []struct {
			Admin       string
			Clients     []rpc.ClientState
			Server      rpc.ServerState
			Connections []rpc.EndpointsState
		}
	}
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatal(err)
	}
	if p := v.Programs; len(p) != 1 || len(p[0].Clients) != 2 || p[0].Clients[1].Methods[0].Breaker.Opened.Reason != "BANK_AWAY" || len(p[0].Server.Methods) != 2 || len(p[0].Connections) != 1 {
		t.Errorf("%s", out)
	}
}

func TestGuardsOfARunningProgram(t *testing.T) {
	services := []argosy.Service{
		{Name: "greeter", Setup: func(s *argosy.Setup) error {
			pb.RegisterGreeterServer(s, pb.UnimplementedGreeterServer{})
			return nil
		}},
		{Name: "caller", Setup: func(s *argosy.Setup) error {
			argosy.Client(s, pb.NewGreeterClient)
			return nil
		}},
	}
	f, err := startFleet(t.TempDir(), nil, services...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := stopFleet(f); err != nil {
			t.Error(err)
		}
	}()
	out, _ := asks(t, exitOK, "guards", "--admin", f.Addrs().Admin, "--service", "greeter")
	for _, row := range []string{"\ncaller argosy.guide.greeter.v1.Greeter/Greet closed - 0/1000 10 - - - -\n", "\ngreeter argosy.guide.greeter.v1.Greeter/Greet 0/2000 -\n"} {
		if !strings.Contains(fold(out), row) {
			t.Errorf("there is no line %q in\n%s", row[1:], out)
		}
	}
	_, errs := asks(t, exitNotFound, "guards", "--admin", f.Addrs().Admin, "--service", "pricing")
	if !strings.Contains(errs, "by or of service pricing") {
		t.Error(errs)
	}
}
