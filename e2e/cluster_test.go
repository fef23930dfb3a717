//go:build unix

package e2e

import (
	"os"
	"testing"
	"time"

	"github.com/argosy-go/argosy/internal/natstest"
)

// TestTheShopOutlivesTheLeaderOfItsBrokers runs the shop over three NATS
// servers and kills the one that leads the events' stream, under load. Orders
// are taken all the time: their events wait. With ARGOSY_LONG=1 it does so six
// times, whichever leads then, and again with one process a service.
func TestTheShopOutlivesTheLeaderOfItsBrokers(t *testing.T) {
	bin := build(t, "")
	t.Run("in one process", func(t *testing.T) {
		outliveLeaders(t, func(dir, broker string) *fleet { return start(t, bin, dir, "ARGOSY_BROKER="+broker) })
	})
	if os.Getenv("ARGOSY_LONG") != "" {
		t.Run("as one process a service", func(t *testing.T) {
			outliveLeaders(t, func(dir, broker string) *fleet { return startUp(t, bin, dir, nil, "--broker", broker) })
		})
	}
}

func outliveLeaders(t *testing.T, shop func(dir, broker string) *fleet) {
	kills := 1
	if os.Getenv("ARGOSY_LONG") != "" {
		kills = 6
	}
	c := natstest.Start(t, 3)
	dir := t.TempDir()
	f := shop(dir, c.URL()+"?replicas=3")
	f.signIn("customer@shop.test")
	load := newCustomers(t, dir)
	load.products = f.products()
	stop := make(chan struct{})
	shopping := load.shop(f, 2, stop)
	load.awaitMore(f, 30)
	for range kills {
		leader := c.Leader("ARGOSY")
		c.Kill(leader)
		load.awaitMore(f, 30) // while nobody leads, too
		t.Logf("%s was killed, %s leads", leader, c.Leader("ARGOSY"))
		c.Restart(leader)
		c.AwaitReplicas("ARGOSY", 2)
		load.awaitMore(f, 10)
	}
	close(stop)
	shopping.Wait()
	load.settle(f)
	t.Logf("%d orders acknowledged\n%s", load.acknowledged(), f.green(60*time.Second))
}

// awaitMore returns when n more orders are acknowledged.
func (c *customers) awaitMore(f *fleet, n int) {
	c.t.Helper()
	deadline := time.After(60 * time.Second)
	for want, tick := c.acknowledged()+n, time.Tick(5*time.Millisecond); c.acknowledged() < want; {
		select {
		case <-tick:
		case <-deadline:
			c.t.Fatalf("%d orders are acknowledged, want %d\n%s", c.acknowledged(), want, tailOf(f))
		}
	}
}
