//go:build unix

package e2e

import (
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/argosy-go/argosy/internal/pgtest"
)

// startTwice starts two replicas of every service over one Postgres; nil
// when there is none.
func startTwice(t *testing.T) *fleet {
	t.Helper()
	if !pgtest.Available() {
		t.Log("NOT TESTED: there is no Postgres")
		return nil
	}
	u, err := url.Parse(pgtest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("pool_max_conns", "3") // of each of the processes
	u.RawQuery = q.Encode()
	f := startUp(t, build(t, ""), t.TempDir(), []string{"ARGOSY_STORE=" + u.String()},
		"--replicas", "identity=2,catalog=2,cart=2,order=2,inventory=2,payment=2,shipping=2,notify=2,web=2")
	t.Logf("%d processes ready after %s", len(f.members()), f.took)
	return f
}

// replicas returns the names of the processes of services that run more than
// once, by their number: order-1, web-1 and so on are 1.
func (f *fleet) replicas() (waves [2][]string) {
	f.t.Helper()
	of := map[string][]string{}
	for _, m := range f.members() {
		of[m.Service] = append(of[m.Service], m.Name)
	}
	for _, service := range slices.Sorted(maps.Keys(of)) {
		if names := of[service]; len(names) == 2 {
			waves[0], waves[1] = append(waves[0], names[0]), append(waves[1], names[1])
		}
	}
	return waves
}

// TestTwoReplicasOfEveryServiceServeOnWhileAnyProcessIsKilled runs the shop as
// many processes over one Postgres, under load: what is killed has a second one
// beside it, and no customer is sent away. With ARGOSY_LONG=1 the load is 50
// customers a second, and every process is killed.
func TestTwoReplicasOfEveryServiceServeOnWhileAnyProcessIsKilled(t *testing.T) {
	f := startTwice(t)
	if f == nil {
		return
	}
	rate, inner, edges := 20, []string{"order-1", "payment-2", "inventory-1", "catalog-2"}, []string{"web-1"}
	if os.Getenv("ARGOSY_LONG") == "1" {
		rate, inner, edges = 50, nil, []string{"web-1", "web-2"}
		for _, m := range f.members() {
			if !m.Edge {
				inner = append(inner, m.Name)
			}
		}
	}
	strike := func(names []string) func() {
		return func() {
			for _, name := range names {
				f.strike(name)
			}
		}
	}
	if load := f.underLoad(rate, strike(inner)); load.Failed > 0 || len(load.Errors) > 0 {
		t.Errorf("%d requests failed, and some were answered with errors: %v", load.Failed, load.Errors)
	}
	// Whoever waits for an answer of an edge that is killed gets none, and asks
	// the other.
	load := f.underLoad(rate, strike(edges))
	for what, n := range load.Errors {
		if what != "no answer" && what != "answer broke off" {
			t.Errorf("%d answers were %s", n, what)
		}
	}
	if load.Failed > 0 {
		t.Errorf("%d requests failed", load.Failed)
	}
	begun := time.Now()
	t.Logf("\n%s", f.green(60*time.Second))
	t.Logf("quiet after %s", time.Since(begun))
	if err := f.stop(); err != nil {
		t.Errorf("drain: %v\n%s", err, f.out)
	}
}

// TestARollingRestartFailsNoRequest restarts the first replicas of all services
// at once, and then the second ones, again and again under load.
// ARGOSY_ROLLING_ROUNDS says how often.
func TestARollingRestartFailsNoRequest(t *testing.T) {
	f := startTwice(t)
	if f == nil {
		return
	}
	waves, n := f.replicas(), rounds(t, "ARGOSY_ROLLING_ROUNDS", 2)
	if len(waves[0]) != 9 {
		t.Fatalf("the replicas are %v", waves)
	}
	begun := time.Now()
	load := f.underLoad(20, func() {
		for range n {
			f.restart(syscall.SIGTERM, waves[0]...)
			f.restart(syscall.SIGTERM, waves[1]...)
		}
	})
	t.Logf("%d rounds of %s took %s", n, strings.Join(waves[0], " "), time.Since(begun))
	if load.Failed > 0 || len(load.Errors) > 0 {
		t.Errorf("%d requests failed, and some were answered with errors: %v", load.Failed, load.Errors)
	}
	t.Logf("\n%s", f.green(60*time.Second))
	if err := f.stop(); err != nil {
		t.Errorf("drain: %v\n%s", err, f.out)
	}
}
