//go:build unix

package e2e

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/engine/all"
	"github.com/argosy-go/argosy/shop/cart"
	"github.com/argosy-go/argosy/shop/catalog"
	"github.com/argosy-go/argosy/shop/identity"
	"github.com/argosy-go/argosy/shop/inventory"
	"github.com/argosy-go/argosy/shop/notify"
	shoporder "github.com/argosy-go/argosy/shop/order"
	"github.com/argosy-go/argosy/shop/partner"
	"github.com/argosy-go/argosy/shop/payment"
	"github.com/argosy-go/argosy/shop/shipping"
	"github.com/argosy-go/argosy/shop/web"
	"github.com/argosy-go/argosy/shop/witness"
)

// eachMode runs one business test in the three ways that a fleet can run: in
// this process, where calls go from function to function; the same through
// bytes, with every transaction function run twice; and as many processes, one
// a service. Then it runs it with one process on each store.
func eachMode(t *testing.T, test func(t *testing.T, f *fleet)) {
	t.Helper()
	t.Run("in process", func(t *testing.T) { test(t, startHere(t, t.TempDir(), false)) })
	t.Run("through bytes", func(t *testing.T) { test(t, startHere(t, t.TempDir(), true)) })
	t.Run("many processes", func(t *testing.T) { test(t, startUp(t, build(t, ""), t.TempDir(), nil)) })
	eachStore(t, test)
}

// startHere starts the shop in this process, with bank and carrier beside it.
func startHere(t *testing.T, dir string, wire bool) *fleet {
	t.Helper()
	f := &fleet{t: t, bin: build(t, ""), dir: dir, out: &output{}}
	begun := time.Now()
	shop, err := argosy.Start(t.Context(), argosy.Program{
		Name: "shop", Engines: all.Engines(), Wire: wire, RunTwice: wire, Stdout: f.out, Stderr: f.out,
		Services: []argosy.Service{
			identity.Service, catalog.Service, cart.Service, shoporder.Service, inventory.Service,
			payment.Service, shipping.Service, notify.Service, web.Service,
		},
		Args: []string{
			"--http=127.0.0.1:0", "--grpc=127.0.0.1:0", "--admin=127.0.0.1:0", "--data=" + dir,
			"--log-format=json", "--log-level=warn",
		},
		Env: func(name string) (string, bool) { return password, name == "ARGOSY_SHOP_DEV_PASSWORD" },
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, f.out)
	}
	f.took = time.Since(begun)
	at := shop.Addrs()
	f.addrs.HTTP, f.addrs.GRPC, f.addrs.Admin = at.HTTP, at.GRPC, at.Admin
	var outside []*witness.Process
	f.here = func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		errs := []error{shop.Stop(ctx)}
		for _, p := range outside {
			errs = append(errs, p.Stop(ctx))
		}
		outside = nil
		return errors.Join(errs...)
	}
	t.Cleanup(func() {
		if err := f.here(); err != nil {
			t.Errorf("stop: %v\n%s", err, f.out)
		}
	})
	for _, name := range []string{"bank", "carrier"} {
		outside = append(outside, startWitness(t, f, name))
	}
	return f
}

// startWitness starts the bank or the carrier of a shop in this process.
func startWitness(t *testing.T, f *fleet, name string) *witness.Process {
	t.Helper()
	secret, err := partner.Secret(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	p, err := witness.Ensure(t.Context(), witness.Launch{
		Name: name, Dir: partner.Directory(f.dir), Command: []string{f.bin, name},
		Webhook: "http://" + f.addrs.HTTP + "/v1/webhooks/" + name, Secret: secret,
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}
