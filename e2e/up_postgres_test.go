//go:build unix

package e2e

import (
	"net/url"
	"testing"
	"time"

	"github.com/argosy-go/argosy/internal/pgtest"
)

// TestTwoReplicasOfEveryServiceServeOnWhileOneOfEachIsKilled runs the shop as
// many processes over one Postgres, under load: what is killed has a second one
// beside it, and no customer is sent away.
func TestTwoReplicasOfEveryServiceServeOnWhileOneOfEachIsKilled(t *testing.T) {
	if !pgtest.Available() {
		t.Log("NOT TESTED: there is no Postgres")
		return
	}
	u, err := url.Parse(pgtest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("pool_max_conns", "3") // of each of the processes
	u.RawQuery = q.Encode()
	f := startUp(t, build(t, ""), t.TempDir(), []string{"ARGOSY_STORE=" + u.String()},
		"--replicas", "identity=2,catalog=2,cart=2,order=2,inventory=2,payment=2,shipping=2,notify=2")
	t.Logf("%d processes ready after %s", len(f.members()), f.took)
	load := f.underLoad(5*time.Second, func() {
		for _, name := range []string{"order-1", "payment-2", "inventory-1", "catalog-2"} {
			f.strike(name)
		}
	})
	if load.Failed > 0 || len(load.Errors) > 0 {
		t.Errorf("%d customers gave up, and some saw errors: %v", load.Failed, load.Errors)
	}
	t.Logf("\n%s", f.green(40*time.Second))
	if err := f.stop(); err != nil {
		t.Errorf("drain: %v\n%s", err, f.out)
	}
}
