package argosy_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/argosy-go/argosy"
	greeterpb "github.com/argosy-go/argosy/docs/guide/greeter/greeterpb"
)

func TestOperatorsSeeHowGuardsStand(t *testing.T) {
	caller := argosy.Service{Name: "caller", Setup: func(s *argosy.Setup) error {
		argosy.Client(s, greeterpb.NewGreeterClient)
		return nil
	}}
	f := start(t, program(t, serving("greeter", hello), caller))
	code, body := operator(t, f, "GET", "/guards", "")
	var all argosy.Guards
	if err := json.Unmarshal([]byte(body), &all); err != nil || code != 200 {
		t.Fatalf("%d %v %s", code, err, body)
	}
	if len(all.Clients) != 1 || !strings.HasSuffix(all.Clients[0].Target, ".Greeter") || all.Clients[0].Budget == 0 {
		t.Fatalf("the clients are %+v", all.Clients)
	}
	m := all.Clients[0].Methods
	if len(m) != 1 || m[0].From != "caller" || m[0].Breaker.State != "closed" || m[0].Limit != m[0].MaxInFlight || m[0].Limit == 0 {
		t.Errorf("the methods are %+v", m)
	}
	if len(all.Server.Methods) != 1 || all.Server.MaxInFlight == 0 {
		t.Errorf("the server is %+v", all.Server)
	}
	if code, body := operator(t, f, "GET", "/guards", "", "Origin", "https://evil.example"); code != 403 {
		t.Errorf("a page of another site got %d %s", code, body)
	}
}
