package e2e

import (
	"crypto/rand"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/argosy-go/argosy/internal/pgtest"
	shopaudit "github.com/argosy-go/argosy/shop/audit"
)

// eachStore runs a test with a shop on SQLite and, where there is a server,
// with one on Postgres: a schema for each service in one database.
func eachStore(t *testing.T, test func(t *testing.T, f *fleet)) {
	t.Helper()
	t.Run("SQLite", func(t *testing.T) { test(t, start(t, build(t, ""), t.TempDir())) })
	alsoOnPostgres(t, func(t *testing.T, store string) { test(t, start(t, build(t, ""), t.TempDir(), store)) })
}

// alsoOnPostgres runs a test with a database of its own; store tells the shop and
// its audit where it is.
func alsoOnPostgres(t *testing.T, test func(t *testing.T, store string)) {
	t.Helper()
	if !pgtest.Available() {
		t.Log("NOT TESTED on Postgres: there is none")
		return
	}
	t.Run("Postgres", func(t *testing.T) { test(t, "ARGOSY_STORE="+pgtest.Database(t)) })
}

func TestEachServiceMayHaveADatabaseOfItsOwn(t *testing.T) {
	if !pgtest.Available() {
		t.Log("NOT TESTED: there is no Postgres")
		return
	}
	server, prefix := pgtest.Server(t), "argosy_"+strings.ToLower(rand.Text())+"_"
	for _, service := range []string{"identity", "catalog", "cart", "order", "inventory", "payment", "shipping", "notify"} {
		pgtest.Exec(t, server, "CREATE DATABASE "+prefix+service+" ENCODING 'UTF8' TEMPLATE template0")
		t.Cleanup(func() { pgtest.Exec(t, server, "DROP DATABASE "+prefix+service+" WITH (FORCE)") })
	}
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/DATABASE"
	store := strings.Replace(u.String(), "DATABASE", prefix+"{service}", 1)
	f := start(t, build(t, ""), t.TempDir(), "ARGOSY_STORE="+store)
	f.signIn("customer@shop.test")
	for token, want := range map[string]string{"tok_ok": "CONFIRMED", "tok_decline": "CANCELLED"} {
		id := f.must("POST", "/v1/orders", token, order(token, f.products()[0])).field("id")
		if s := f.awaitEnd(id); s != want {
			t.Errorf("with %s the order ended %s", token, s)
		}
	}
	f.green(20 * time.Second)
}

// TestAnAuditOfABusyShopFindsNothingLost audits while orders come, in one look
// each: work that has not ended is not a loss, and what was acknowledged while
// the audit read is not missed.
func TestAnAuditOfABusyShopFindsNothingLost(t *testing.T) {
	eachStore(t, func(t *testing.T, f *fleet) {
		f.signIn("customer@shop.test")
		c := newCustomers(t, f.dir)
		c.products = f.products()
		stop := make(chan struct{})
		shopping := c.shop(f, 2, stop)
		if code, r := audit(t, f.bin, f.dir, 0, f.env...); code != 0 && code != 4 {
			t.Errorf("shop audit exited %d:\n%s", code, r)
		}
		shop := shopaudit.Shop{Dir: f.dir}
		if len(f.env) > 0 {
			_, shop.Store, _ = strings.Cut(f.env[0], "=")
		}
		for c.acknowledged() < 30 { // most of them while an audit reads
			r, err := shopaudit.Run(t.Context(), shop)
			if err != nil {
				t.Error(err)
				break
			}
			if exist := r.Checks[0]; !exist.OK {
				t.Errorf("%s: %s", exist.Name, exist.Detail)
				break
			}
		}
		close(stop)
		shopping.Wait()
		c.settle(f)
		f.green(30 * time.Second)
	})
}
