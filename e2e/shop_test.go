package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/argosy-go/argosy/shop/witness/ledger"

	"path/filepath"
)

func order(token string, products ...string) placement {
	p := placement{PaymentToken: token}
	for _, id := range products {
		p.Lines = append(p.Lines, placedLine{id, 2})
	}
	return p
}

func TestAnOrderIsPlacedPaidAndShipped(t *testing.T) {
	eachMode(t, func(t *testing.T, f *fleet) {
		t.Logf("ready after %s", f.took)
		f.signIn("customer@shop.test")
		p := f.products()
		if len(p) < 100 {
			t.Fatalf("only %d products", len(p))
		}
		begun := time.Now()
		placed := f.must("POST", "/v1/orders", "k1", order("tok_ok", p[0], p[1]))
		if s := placed.field("state"); s != "PENDING" {
			t.Errorf("a placed order is %s", s)
		}
		if s := f.awaitEnd(placed.field("id")); s != "CONFIRMED" {
			t.Errorf("the order ended %s", s)
		}
		t.Logf("confirmed after %s", time.Since(begun))
		f.green(20 * time.Second)
		if err := f.stop(); err != nil {
			t.Errorf("drain: %v\n%s", err, f.out)
		}
		code, r := audit(t, f.bin, f.dir, 0, f.env...)
		if code != 0 {
			t.Errorf("the audit of the stopped fleet exited %d:\n%s", code, r)
		}
	})
}

func TestADeclinedCardCancelsTheOrderAndReleasesTheStock(t *testing.T) {
	eachMode(t, func(t *testing.T, f *fleet) {
		f.signIn("customer@shop.test")
		p := f.products()
		before := f.must("GET", "/v1/products/"+p[0]+"/stock", "", nil).field("onHand")
		id := f.must("POST", "/v1/orders", "k1", order("tok_decline", p[0])).field("id")
		if s := f.awaitEnd(id); s != "CANCELLED" {
			t.Errorf("the order ended %s", s)
		}
		if after := f.must("GET", "/v1/products/"+p[0]+"/stock", "", nil).field("onHand"); after != before {
			t.Errorf("on hand %s before and %s after", before, after)
		}
		f.green(20 * time.Second)
	})
}

func TestATimeoutAfterTheBankBookedIsCapturedOnce(t *testing.T) {
	eachMode(t, func(t *testing.T, f *fleet) {
		f.signIn("customer@shop.test")
		id := f.must("POST", "/v1/orders", "k1", order("tok_timeout_after_commit", f.products()[0])).field("id")
		if s := f.awaitEnd(id); s != "CONFIRMED" {
			t.Errorf("the order ended %s", s)
		}
		entries, err := ledger.Read(filepath.Join(f.dir, "witness", "bank.ledger.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		captures := 0
		for _, e := range entries {
			if e.Reference == id && e.Kind == "capture" && e.Outcome == "captured" {
				captures++
			}
		}
		if captures != 1 {
			t.Errorf("the bank captured %d times", captures)
		}
		f.green(20 * time.Second)
	})
}

func TestOneKeySent64TimesMakesOneOrder(t *testing.T) {
	eachMode(t, func(t *testing.T, f *fleet) {
		f.signIn("customer@shop.test")
		p := f.products()
		replies := make([]reply, 64)
		var all sync.WaitGroup
		for i := range replies {
			all.Go(func() {
				r, err := f.call("POST", "/v1/orders", "the-same-key", order("tok_ok", p[0]))
				if err != nil {
					t.Error(err)
				}
				replies[i] = r
			})
		}
		all.Wait()
		for i, r := range replies {
			if r.status != 200 || !bytes.Equal(r.body, replies[0].body) {
				t.Fatalf("reply %d differs: %d %s\nfrom %s", i, r.status, r.body, replies[0].body)
			}
		}
		r, err := f.call("POST", "/v1/orders", "the-same-key", order("tok_ok", p[1]))
		if err != nil || r.status != 422 {
			t.Errorf("another body under the key: %v, %d %s", err, r.status, r.body)
		}
		var list struct{ Orders []struct{ ID string } }
		if err := json.Unmarshal(f.must("GET", "/v1/orders", "", nil).body, &list); err != nil || len(list.Orders) != 1 {
			t.Errorf("%v: there are %d orders", err, len(list.Orders))
		}
		if r, err := f.call("POST", "/v1/orders", "", order("tok_ok", p[0])); err != nil || r.status != 400 {
			t.Errorf("without a key: %v, %d %s", err, r.status, r.body)
		}
		f.green(20 * time.Second)
	})
}

func TestACancellationEndsCleanlyWhereverItStrikes(t *testing.T) {
	eachMode(t, func(t *testing.T, f *fleet) {
		f.signIn("customer@shop.test")
		p := f.products()
		var all sync.WaitGroup
		for i := range 40 {
			all.Go(func() {
				id := f.must("POST", "/v1/orders", fmt.Sprint("k", i), order("tok_ok", p[i%len(p)])).field("id")
				if i%4 != 0 { // let some run ahead
					<-time.After(time.Duration(4*i) * time.Millisecond)
				}
				r, err := f.call("POST", "/v1/orders/"+id+":cancel", fmt.Sprint("c", i), map[string]string{"reason": "changed my mind"})
				if err != nil || r.status != 200 && r.status != 400 {
					t.Errorf("cancel: %v, %d %s", err, r.status, r.body)
				}
			})
		}
		all.Wait()
		t.Log(f.green(30 * time.Second))
	})
}
