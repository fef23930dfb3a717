package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/engine/all"
	"github.com/argosy-go/argosy/shop/audit"
	"github.com/argosy-go/argosy/shop/partner"
	"github.com/argosy-go/argosy/shop/witness"
	"github.com/argosy-go/argosy/shop/witness/bank"
	"github.com/argosy-go/argosy/shop/witness/carrier"
)

const password = "correct-horse-battery"

// town is the shop with its bank and carrier, all in this process: calls go
// through bytes, and every transaction function runs twice.
type town struct {
	t     *testing.T
	dir   string
	fleet *argosy.Fleet
	token string
	stops []func() // of the witnesses
}

// open opens the town in dir. more are further settings of the shop.
func open(t *testing.T, dir string, more ...string) *town {
	t.Helper()
	p := argosy.Program{
		Name: "shop", Engines: all.Engines(), Services: services, Wire: true, RunTwice: true,
		Args: append([]string{
			"--http=127.0.0.1:0", "--grpc=127.0.0.1:0", "--admin=127.0.0.1:0", "--data=" + dir,
			"--witness.start=false",
		}, more...),
		Env: func(name string) (string, bool) { return password, name == "ARGOSY_SHOP_DEV_PASSWORD" },
	}
	f, err := argosy.Start(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	w := &town{t: t, dir: dir, fleet: f}
	t.Cleanup(func() { w.close() })
	w.witness("bank", bank.Name, func(ctx context.Context, c witness.Config) error { return bank.Run(ctx, bank.Config(c)) })
	w.witness("carrier", carrier.Name, func(ctx context.Context, c witness.Config) error {
		return carrier.Run(ctx, carrier.Config{Config: c})
	})
	w.signIn("customer@shop.test")
	return w
}

func (w *town) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := w.fleet.Stop(ctx); err != nil {
		w.t.Error(err)
	}
	for _, stop := range w.stops {
		stop()
	}
	w.stops = nil
}

// witness runs a witness until the town closes.
func (w *town) witness(path, name string, run func(context.Context, witness.Config) error) {
	w.t.Helper()
	secret, err := partner.Secret(w.dir)
	if err != nil {
		w.t.Fatal(err)
	}
	dir := partner.Directory(w.dir)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, witness.Config{
			Name: name, Dir: dir, Addr: "127.0.0.1:0", Webhook: "http://" + w.fleet.Addrs().HTTP + "/v1/webhooks/" + path, Secret: secret,
		})
	}()
	w.stops = append(w.stops, func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
	for tick := time.Tick(5 * time.Millisecond); ; {
		if _, ok := witness.Find(w.t.Context(), dir, name); ok {
			return
		}
		select {
		case err := <-done:
			done <- err
			w.t.Fatal(err)
		case <-tick:
		}
	}
}

func (w *town) call(method, path, key string, body any) (int, []byte) {
	w.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		w.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(w.t.Context(), method, "http://"+w.fleet.Addrs().HTTP+path, bytes.NewReader(b))
	if err != nil {
		w.t.Fatal(err)
	}
	if body == nil {
		req.Body, req.ContentLength = http.NoBody, 0
	} else {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	req.Header.Set("Authorization", "Bearer "+w.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, out
}

// must is call for requests that succeed.
func (w *town) must(method, path, key string, body any) map[string]any {
	w.t.Helper()
	code, b := w.call(method, path, key, body)
	if code != 200 {
		w.t.Fatalf("%s %s answered %d: %s", method, path, code, b)
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n") // of a stream the last one
	var m map[string]any
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &m); err != nil {
		w.t.Fatalf("%s %s: %v: %s", method, path, err, b)
	}
	return m
}

func (w *town) signIn(email string) {
	w.t.Helper()
	req := strings.NewReader(fmt.Sprintf(`{"email":%q,"password":%q}`, email, password))
	resp, err := http.Post("http://"+w.fleet.Addrs().HTTP+"/v1/sessions", "application/json", req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	var s struct{ Token string }
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil || s.Token == "" {
		w.t.Fatalf("sign in: %d %v", resp.StatusCode, err)
	}
	w.token = s.Token
}

func placement(token string, products ...string) map[string]any {
	var lines []map[string]any
	for _, p := range products {
		lines = append(lines, map[string]any{"productId": p, "quantity": 2})
	}
	return map[string]any{"lines": lines, "paymentToken": token}
}

// place places an order and follows it to its end.
func (w *town) place(key, token string, products ...string) map[string]any {
	w.t.Helper()
	id, _ := w.must("POST", "/v1/orders", key, placement(token, products...))["id"].(string)
	return w.must("GET", "/v1/orders/"+id+":watch", "", nil)
}

func (w *town) green() {
	w.t.Helper()
	r, err := audit.Wait(w.t.Context(), audit.Shop{Dir: w.dir}, 30*time.Second)
	if err != nil {
		w.t.Fatal(err)
	}
	if !r.OK || !r.Quiet {
		w.t.Fatalf("the audit is not green: %+v", r)
	}
}

func TestOrdersEndAsTheirTokensSay(t *testing.T) {
	w := open(t, t.TempDir())
	for token, want := range map[string]string{"tok_ok": "CONFIRMED", "tok_decline": "CANCELLED", "tok_slow": "CONFIRMED"} {
		end := w.place("key-"+token, token, "bananas-1kg", "pears-1kg")
		if end["state"] != want {
			t.Errorf("with %s the order ended %v: %v", token, end["state"], end["events"])
		}
	}
	w.green()
}

func TestACustomerIsToldWhatHasHappenedInOrder(t *testing.T) {
	w := open(t, t.TempDir())
	end := w.place("k", "tok_ok", "bananas-1kg")
	var said []string
	for _, e := range end["events"].([]any) {
		detail, _ := e.(map[string]any)["detail"].(string)
		said = append(said, detail)
	}
	want := []string{"accepted", "stock reserved", "card authorized", "carrier booked", "paid", "handed to the carrier"}
	if len(said) < len(want) || !slices.Equal(said[:len(want)], want) {
		t.Errorf("the customer was told %q", said)
	}
}

func TestAConfirmedOrderIsRefundedWhenItIsCancelled(t *testing.T) {
	w := open(t, t.TempDir())
	stock := w.must("GET", "/v1/products/bananas-1kg/stock", "", nil)
	id, _ := w.place("k", "tok_ok", "bananas-1kg")["id"].(string)
	if s := w.must("POST", "/v1/orders/"+id+":cancel", "c", map[string]any{"reason": "too many bananas"})["state"]; s != "CANCELLING" {
		t.Errorf("the cancellation left it %v", s)
	}
	if s := w.must("GET", "/v1/orders/"+id+":watch", "", nil)["state"]; s != "CANCELLED" {
		t.Errorf("it ended %v", s)
	}
	w.green()
	if after := w.must("GET", "/v1/products/bananas-1kg/stock", "", nil); after["onHand"] != stock["onHand"] {
		t.Errorf("the stock was %v and is %v", stock, after)
	}
	w.signIn("support@shop.test")
	if p := w.must("GET", "/v1/orders/"+id+"/payment", "", nil); p["state"] != "REFUNDED" {
		t.Errorf("the payment is %v", p)
	}
	if m := w.must("GET", "/v1/orders/"+id+"/messages", "", nil); len(m["messages"].([]any)) != 2 {
		t.Errorf("the customer got %v", m)
	}
}

func TestADeliveredOrderIsNotCancelled(t *testing.T) {
	w := open(t, t.TempDir())
	id, _ := w.place("k", "tok_ok", "bananas-1kg")["id"].(string)
	late, tick := time.After(20*time.Second), time.Tick(20*time.Millisecond)
	for w.must("GET", "/v1/orders/"+id, "", nil)["delivered"] != true {
		select {
		case <-tick:
		case <-late:
			t.Fatal("the order is not delivered")
		}
	}
	if code, b := w.call("POST", "/v1/orders/"+id+":cancel", "c", map[string]any{}); code != 400 || !bytes.Contains(b, []byte("ORDER_DELIVERED")) {
		t.Errorf("%d %s", code, b)
	}
}

func TestTheCartShowsPricesAndKeepsItsItems(t *testing.T) {
	w := open(t, t.TempDir())
	w.must("PUT", "/v1/cart/items/bananas-1kg", "", map[string]any{"quantity": 3})
	w.must("PUT", "/v1/cart/items/pears-1kg", "", map[string]any{"quantity": 1})
	c := w.must("PUT", "/v1/cart/items/bananas-1kg", "", map[string]any{"quantity": 2})
	if lines := c["lines"].([]any); len(lines) != 2 {
		t.Errorf("the cart is %v", c)
	}
	c = w.must("DELETE", "/v1/cart/items/pears-1kg", "", nil)
	line := c["lines"].([]any)[0].(map[string]any)
	if line["productId"] != "bananas-1kg" || line["quantity"] != 2.0 {
		t.Errorf("the cart is %v", c)
	}
	if code, b := w.call("PUT", "/v1/cart/items/unobtainium", "", map[string]any{"quantity": 1}); code != 404 {
		t.Errorf("a product that there is not: %d %s", code, b)
	}
	if code, b := w.call("PUT", "/v1/cart/items/pears-1kg", "", map[string]any{"quantity": 100}); code != 400 {
		t.Errorf("too many: %d %s", code, b)
	}
}

func TestWithoutTheCatalogOrdersAreTakenAtPricesWithTheirTime(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	w.must("PUT", "/v1/cart/items/bananas-1kg", "", map[string]any{"quantity": 1})
	price := w.place("k1", "tok_ok", "bananas-1kg")["total"].(map[string]any)["minorUnits"]
	w.green() // the prices have been heard of
	code, first := w.call("POST", "/v1/orders", "k0", placement("tok_ok", "unobtainium"))
	if code != 400 || !bytes.Contains(first, []byte("UNKNOWN_PRODUCT")) {
		t.Errorf("a product that there is not: %d %s", code, first)
	}
	w.green()
	w.close()
	var others []string
	for _, s := range services {
		if s.Name != "catalog" {
			others = append(others, s.Name)
		}
	}
	w = open(t, dir, "--only="+strings.Join(others, ","), "--peers=catalog=127.0.0.1:1")
	if c := w.must("GET", "/v1/cart", "", nil); c["pricesAsOf"] == nil || len(c["lines"].([]any)) != 1 {
		t.Errorf("the cart is %v", c)
	}
	end := w.place("k2", "tok_ok", "bananas-1kg")
	if end["state"] != "CONFIRMED" || end["pricesAsOf"] == nil || end["total"].(map[string]any)["minorUnits"] != price {
		t.Errorf("the order is %v", end)
	}
	if code, b := w.call("POST", "/v1/orders", "k3", placement("tok_ok", "unobtainium")); code != 503 {
		t.Errorf("a product that was never heard of: %d %s", code, b)
	}
	if code, b := w.call("POST", "/v1/orders", "k0", placement("tok_ok", "unobtainium")); code != 400 || !bytes.Equal(b, first) {
		t.Errorf("the same request was answered %s and now %d %s", first, code, b)
	}
}

func TestAPriceThatSupportChangesReachesOrders(t *testing.T) {
	w := open(t, t.TempDir())
	body := map[string]any{"currency": "EUR", "minorUnits": "4711"}
	if code, b := w.call("PUT", "/v1/products/bananas-1kg/price", "p", body); code != 403 {
		t.Errorf("a customer set a price: %d %s", code, b)
	}
	w.signIn("support@shop.test")
	if p := w.must("PUT", "/v1/products/bananas-1kg/price", "p", body); p["priceVersion"] != "2" {
		t.Errorf("the product is %v", p)
	}
	if total := w.place("k", "tok_ok", "bananas-1kg")["total"].(map[string]any)["minorUnits"]; total != "9422" {
		t.Errorf("two cost %v", total)
	}
}

func TestPagesGoThroughAllProducts(t *testing.T) {
	w := open(t, t.TempDir())
	seen := map[string]bool{}
	token := ""
	for {
		page := w.must("GET", "/v1/products?pageSize=40&pageToken="+token, "", nil)
		for _, p := range page["products"].([]any) {
			id, _ := p.(map[string]any)["id"].(string)
			if seen[id] {
				t.Errorf("%s is on two pages", id)
			}
			seen[id] = true
		}
		if token, _ = page["nextPageToken"].(string); token == "" {
			break
		}
	}
	if len(seen) < 100 {
		t.Errorf("%d products", len(seen))
	}
	found := w.must("GET", "/v1/products?query=BANANA", "", nil)["products"].([]any)
	if len(found) == 0 {
		t.Error("a search finds nothing")
	}
	for path, want := range map[string]int{
		"/v1/products?pageToken=%21": 400, "/v1/products?pageSize=-1": 400, "/v1/products?pageSize=1000000000": 200,
		"/v1/products?query=%25": 200, "/v1/products/none": 404, "/v1/products/none/stock": 404,
	} {
		if code, b := w.call("GET", path, "", nil); code != want {
			t.Errorf("%s: %d %s", path, code, b)
		}
	}
}

func TestABadPlacementIsRefusedByField(t *testing.T) {
	w := open(t, t.TempDir())
	many := make([]string, 51)
	for i := range many {
		many[i] = fmt.Sprint("p", i)
	}
	for name, c := range map[string]struct {
		body any
		want string
	}{
		"no lines":         {placement("tok_ok"), "at least one line"},
		"too many lines":   {placement("tok_ok", many...), "at most 50 lines"},
		"no token":         {placement("", "bananas-1kg"), "paymentToken"},
		"a product twice":  {placement("tok_ok", "bananas-1kg", "bananas-1kg"), "lines[1].productId"},
		"no product":       {placement("tok_ok", ""), "lines[0].productId"},
		"unknown product":  {placement("tok_ok", "unobtainium"), "UNKNOWN_PRODUCT"},
		"a field too many": {map[string]any{"state": "CONFIRMED"}, "state"},
	} {
		t.Run(name, func(t *testing.T) {
			if code, b := w.call("POST", "/v1/orders", "bad", c.body); code != 400 || !strings.Contains(string(b), c.want) {
				t.Errorf("%d %s", code, b)
			}
		})
	}
}

func TestAWebhookThatIsNotSignedIsRefused(t *testing.T) {
	w := open(t, t.TempDir())
	for _, path := range []string{"/v1/webhooks/bank", "/v1/webhooks/carrier"} {
		if code, b := w.call("POST", path, "", map[string]any{"type": "shipment.delivered"}); code != 401 {
			t.Errorf("%s: %d %s", path, code, b)
		}
	}
}
