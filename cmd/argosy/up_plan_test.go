package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/argosy-go/argosy"
)

// market is a program: web is its edge, order calls stock and pay, pay calls
// order back, and outside is nobody's.
func market(store string) argosy.Description {
	return argosy.Description{Program: "market", Store: store, Broker: "embedded", Services: []argosy.ServiceDescription{
		{Name: "outside"},
		{Name: "stock", Serves: []string{"m.Stock"}, HasStore: true},
		{Name: "order", Serves: []string{"m.Order"}, Calls: []string{"m.Stock", "m.Pay"}, Handles: []string{"/hook"}, HasStore: true},
		{Name: "pay", Serves: []string{"m.Pay"}, Calls: []string{"m.Order"}},
		{Name: "web", Handles: []string{"/"}},
	}}
}

func planOf(t *testing.T, store string, w wishes) ([]unit, error) {
	t.Helper()
	n := 0
	if w.http == "" {
		w.http = ":8080"
	}
	return planner{program: market(store), wishes: w, port: func() (string, error) { n++; return fmt.Sprint("127.0.0.1:", n), nil }}.plan()
}

func namesOf(units []unit) []string {
	var all []string
	for _, u := range units {
		all = append(all, u.Name)
	}
	return all
}

// argument returns what a setting of a unit is.
func (u unit) argument(name string) string {
	for _, a := range u.args {
		if flag, value, _ := strings.Cut(a, "="); flag == "--"+name {
			return value
		}
	}
	return ""
}

func TestEveryProcessKnowsAllOthersAndTheEdgeKnowsTheirPages(t *testing.T) {
	units, err := planOf(t, "postgres", wishes{replicas: map[string]int{"stock": 2}, settings: []string{"--order.max=3"}, peers: map[string]string{"mail": "10.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := namesOf(units); len(got) != 6 || got[0] != "web-1" || got[5] != "outside-1" {
		t.Fatalf("%v", got)
	}
	byName, used := map[string]unit{}, map[string]bool{}
	for _, u := range units {
		byName[u.Name] = u
		for _, a := range []string{u.HTTP, u.GRPC, u.Admin} {
			if used[a] || a == "" {
				t.Errorf("%s: the address %q is used twice, or none", u.Name, a)
			}
			used[a] = true
		}
	}
	stock := byName["stock-1"].GRPC + "|" + byName["stock-2"].GRPC
	for _, u := range units {
		if u.args[0] != "--order.max=3" || u.argument("only") != u.Service || u.argument("origin") != "http://127.0.0.1:8080" {
			t.Errorf("%s: %v", u.Name, u.args)
		}
		for _, want := range []string{"stock=" + stock, "mail=10.0.0.1:1", "order=" + byName["order-1"].GRPC} {
			if !slices.Contains(strings.Split(u.argument("peers"), ","), want) {
				t.Errorf("%s: --peers=%s has no %s", u.Name, u.argument("peers"), want)
			}
		}
		if edge := slices.Contains(u.args, "--edge"); edge != (u.Name == "web-1") || edge != strings.Contains(u.argument("http-peers"), "order="+byName["order-1"].HTTP) {
			t.Errorf("%s: %v", u.Name, u.args)
		}
	}
	if u := byName["web-1"]; u.HTTP != ":8080" || u.address() != "http://127.0.0.1:8080" {
		t.Errorf("the edge is at %s, %s", u.HTTP, u.address())
	}
}

func TestReplicasOfTheEdgeHaveAddressesOfTheirOwn(t *testing.T) {
	units, err := planOf(t, "postgres", wishes{http: ":8080", replicas: map[string]int{"web": 2}})
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]bool{}
	for _, u := range units {
		if u.Service != "web" {
			continue
		}
		at[u.HTTP] = true
		if !u.Edge || !slices.Contains(u.args, "--edge") || u.argument("origin") != "http://127.0.0.1:8080" {
			t.Errorf("%s: %v", u.Name, u.args)
		}
	}
	if len(at) != 2 || !at[":8080"] || at[""] {
		t.Errorf("the edges are at %v", at)
	}
}

func TestTheOriginThatIsSaidIsKept(t *testing.T) {
	units, err := planOf(t, "sqlite", wishes{settings: []string{"--origin", "https://shop.example"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range units {
		if u.argument("origin") != "" {
			t.Errorf("%s: %v", u.Name, u.args)
		}
	}
}

func TestCallersAreDrainedBeforeThoseTheyCall(t *testing.T) {
	d := market("sqlite")
	d.Services[3].Calls = nil // nobody calls back
	tiers := tiersOf(d.Services, "web")
	for _, pair := range [][2]string{{"web", "order"}, {"order", "stock"}, {"order", "pay"}, {"stock", "outside"}, {"pay", "outside"}} {
		if tiers[pair[0]] >= tiers[pair[1]] {
			t.Errorf("%s is not drained before %s: %v", pair[0], pair[1], tiers)
		}
	}
	if round := tiersOf(market("sqlite").Services, "web"); round["outside"] <= round["pay"] || round["web"] != 0 { // calls that go round end too
		t.Errorf("%v", round)
	}
}

func TestWhatCannotRunIsRefusedByName(t *testing.T) {
	for name, c := range map[string]struct {
		store string
		w     wishes
		says  string
	}{
		"replicas on SQLite":           {"sqlite", wishes{replicas: map[string]int{"order": 2}}, "2 replicas of order need a store"},
		"replicas that are left out":   {"postgres", wishes{replicas: map[string]int{"pay": 2}, only: []string{"stock"}}, "--only leaves out"},
		"a service that is not there":  {"postgres", wishes{only: []string{"stok"}}, "did you mean stock?"},
		"replicas of nothing":          {"postgres", wishes{replicas: map[string]int{"stok": 2}}, "did you mean stock?"},
		"a call that finds nobody":     {"postgres", wishes{only: []string{"order", "stock"}}, "order calls pay, which does not run"},
		"replicas in one process":      {"postgres", wishes{oneProcess: true, replicas: map[string]int{"pay": 2}}, "makes one of all"},
		"nothing like it in a process": {"postgres", wishes{oneProcess: true, only: []string{"stok"}}, "did you mean stock?"},
	} {
		t.Run(name, func(t *testing.T) {
			units, err := planOf(t, c.store, c.w)
			if err == nil || !strings.Contains(err.Error(), c.says) || exitCode(err) != exitUsage {
				t.Errorf("%v, want %q: %v", err, c.says, namesOf(units))
			}
		})
	}
}

func TestWhatCanRunIsNotRefused(t *testing.T) {
	for name, c := range map[string]struct {
		store string
		w     wishes
		want  []string
	}{
		"replicas without a store":   {"sqlite", wishes{replicas: map[string]int{"pay": 2}}, []string{"web-1", "outside-1", "pay-2"}},
		"replicas of the edge":       {"postgres", wishes{replicas: map[string]int{"web": 2}}, []string{"web-1", "web-2"}},
		"one of one":                 {"sqlite", wishes{replicas: map[string]int{"order": 1}}, []string{"order-1"}},
		"a part that calls nobody":   {"sqlite", wishes{only: []string{"stock"}}, []string{"stock-1"}},
		"a part with peers":          {"sqlite", wishes{only: []string{"order", "stock"}, peers: map[string]string{"pay": "a:1"}}, []string{"order-1", "stock-1"}},
		"everything in one process":  {"sqlite", wishes{oneProcess: true}, []string{"market-1"}},
		"some of it in one process":  {"sqlite", wishes{oneProcess: true, only: []string{"stock"}}, []string{"market-1"}},
		"a program without any edge": {"sqlite", wishes{only: []string{"outside"}}, []string{"outside-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			units, err := planOf(t, c.store, c.w)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range c.want {
				if !slices.Contains(namesOf(units), name) {
					t.Errorf("no %s in %v", name, namesOf(units))
				}
			}
		})
	}
}

func TestReplicasAreReadStrictly(t *testing.T) {
	got, err := parseReplicas("order=3, pay=2")
	if err != nil || got["order"] != 3 || got["pay"] != 2 || len(got) != 2 {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"order", "order=", "=2", "order=0", "order=-1", "order=x", "order=101", "order=1,order=2"} {
		if got, err := parseReplicas(bad); err == nil {
			t.Errorf("%q is %v", bad, got)
		}
	}
}

func TestPortsAreFreeAndDifferent(t *testing.T) {
	p, seen := newPorts(), map[string]bool{}
	for range 40 {
		a, err := p.free()
		if err != nil || seen[a] {
			t.Fatalf("%s, %v", a, err)
		}
		seen[a] = true
	}
}

func FuzzLists(f *testing.F) {
	f.Add("order=3,pay=2")
	f.Add("a=b=c,,=")
	f.Fuzz(func(t *testing.T, list string) {
		if replicas, err := parseReplicas(list); err == nil {
			for name, n := range replicas {
				if name == "" || n < 1 || n > 100 {
					t.Errorf("%q: %q=%d", list, name, n)
				}
			}
		}
		if peers, err := parsePeers(list); err == nil {
			if again, err := parsePeers(joined(peers)); err != nil || len(again) != len(peers) {
				t.Errorf("%q: %v, %v", list, again, err)
			}
		}
	})
}
