package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/argosy-go/argosy/shop/witness/ledger"
)

// customers is a load that goes on over crashes: what was not acknowledged is
// sent again, with its key, to the next incarnation of the shop. What was is
// in a journal that the audit reads.
type customers struct {
	t        *testing.T
	journal  *ledger.Ledger
	mu       sync.Mutex
	serial   int
	owed     []attempt // not acknowledged yet
	acked    int
	products []string
}

type attempt struct {
	key  string
	body placement
}

var tokens = []string{"tok_ok", "tok_ok", "tok_ok", "tok_ok", "tok_ok", "tok_ok", "tok_decline", "tok_slow"}

func newCustomers(t *testing.T, dir string) *customers {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "load"), 0o700); err != nil {
		t.Fatal(err)
	}
	journal, _, err := ledger.Open(filepath.Join(dir, "load", "customers.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := journal.Close(); err != nil {
			t.Error(err)
		}
	})
	return &customers{t: t, journal: journal}
}

// next returns what to send: an attempt that is owed, or a new one.
func (c *customers) next() attempt {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.owed); n > 0 {
		a := c.owed[n-1]
		c.owed = c.owed[:n-1]
		return a
	}
	c.serial++
	p := order(tokens[c.serial%len(tokens)], c.products[c.serial%len(c.products)], c.products[(c.serial+1)%len(c.products)])
	return attempt{fmt.Sprint("customer-", c.serial), p}
}

// shop sends orders from n customers until stop is closed.
func (c *customers) shop(f *fleet, n int, stop <-chan struct{}) *sync.WaitGroup {
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c.send(f, c.next())
			}
		})
	}
	return &all
}

// send makes one attempt, and keeps it when it was not acknowledged.
func (c *customers) send(f *fleet, a attempt) {
	r, err := f.call("POST", "/v1/orders", a.key, a.body)
	if err == nil && r.status == 200 {
		err := c.journal.Append(ledger.Entry{Kind: "acknowledged", Key: a.key, Reference: r.field("id")}).Wait()
		if err != nil {
			c.t.Error(err)
		}
		c.mu.Lock()
		c.acked++
		c.mu.Unlock()
		return
	}
	if err == nil && r.status < 500 && r.status != 409 && r.status != 429 {
		c.t.Errorf("the shop answered %d: %s", r.status, r.body)
		return
	}
	c.mu.Lock()
	c.owed = append(c.owed, a)
	c.mu.Unlock()
}

// acknowledged returns how many orders were acknowledged.
func (c *customers) acknowledged() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.acked
}

// settle sends everything that is owed until the shop has acknowledged it.
func (c *customers) settle(f *fleet) {
	for deadline := time.Now().Add(20 * time.Second); ; {
		c.mu.Lock()
		owed := c.owed
		c.owed = nil
		c.mu.Unlock()
		if len(owed) == 0 {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%d orders are not accepted by a healthy shop", len(owed))
		}
		for _, a := range owed {
			c.send(f, a)
		}
	}
}

// rounds returns how many rounds to run: what the variable says, or n.
func rounds(t *testing.T, variable string, n int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return n
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%s is not a number above zero", variable, text)
	}
	return n
}

const crashRounds = "ARGOSY_CRASH_ROUNDS"

func TestKilledAtAnyInstant(t *testing.T) {
	t.Run("SQLite", func(t *testing.T) { killed(t, rounds(t, crashRounds, 5)) })
	alsoOnPostgres(t, func(t *testing.T, store string) { killed(t, rounds(t, crashRounds, 3), store) })
}

// killed kills a shop n times under load and audits it.
func killed(t *testing.T, n int, env ...string) {
	bin, dir := build(t, ""), t.TempDir()
	c := newCustomers(t, dir)
	for round := range n {
		crashOnce(t, c, start(t, bin, dir, env...), round)
	}
	f := start(t, bin, dir, env...)
	f.signIn("customer@shop.test")
	c.settle(f)
	r := f.green(60 * time.Second)
	t.Logf("%d kills, %d orders acknowledged\n%s", n, c.acked, r)
}

// crashOnce loads the shop and kills it at a random instant: alone, so that
// bank and carrier are adopted, or with them.
func crashOnce(t *testing.T, c *customers, f *fleet, round int) {
	t.Helper()
	f.signIn("customer@shop.test")
	if c.products == nil {
		c.products = f.products()
	}
	stop := make(chan struct{})
	shopping := c.shop(f, 8, stop)
	<-time.After(20*time.Millisecond + rand.N(500*time.Millisecond))
	if round%2 == 0 {
		f.kill()
	} else {
		f.killGroup()
	}
	close(stop)
	shopping.Wait()
	if round%10 == 9 { // look closely now and then, not only at the end
		g := start(t, f.bin, f.dir, f.env...)
		g.signIn("customer@shop.test")
		c.settle(g)
		g.green(60 * time.Second)
		g.killGroup()
	}
}
