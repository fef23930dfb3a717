package e2e

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/argosy-go/argosy/fault"
	orderpb "github.com/argosy-go/argosy/shop/gen/order/v1"
)

// raw sends a request as it is.
func (f *fleet) raw(t *testing.T, method, path, body string, header map[string]string) reply {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+f.addrs.HTTP+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+f.token)
	req.Header.Set("Idempotency-Key", "edge")
	for name, value := range header {
		req.Header.Set(name, value)
		if value == "" {
			req.Header.Del(name)
		}
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp.StatusCode, b, resp.Header}
}

// unsigned returns a token that says alg none.
func unsigned() string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(`{"alg":"none","typ":"at+jwt"}`)) + "." + enc([]byte(`{"sub":"x","roles":["support"],"exp":9999999999}`)) + "."
}

func TestBadRequestsAreAnsweredByTheTable(t *testing.T) {
	f := start(t, build(t, ""), t.TempDir())
	f.signIn("customer@shop.test")
	const good = `{"lines":[{"productId":"bananas-1kg","quantity":1}],"paymentToken":"tok_ok"}`
	for name, c := range map[string]struct {
		method, path, body string
		header             map[string]string
		status             int
		says               string
	}{
		"malformed JSON":             {"POST", "/v1/orders", `{"lines":[`, nil, 400, ""},
		"trailing JSON":              {"POST", "/v1/orders", good + `{}`, nil, 400, ""},
		"a key twice":                {"POST", "/v1/orders", `{"paymentToken":"a","paymentToken":"b"}`, nil, 400, "paymentToken"},
		"JSON that is too deep":      {"POST", "/v1/orders", strings.Repeat(`{"lines":[`, 200), nil, 400, ""},
		"an unknown field":           {"POST", "/v1/orders", `{"lines":[],"state":"CONFIRMED"}`, nil, 400, "state"},
		"a nested unknown field":     {"POST", "/v1/orders", `{"lines":[{"productId":"a","price":1}]}`, nil, 400, "price"},
		"invalid UTF-8":              {"POST", "/v1/orders", "{\"paymentToken\":\"\xff\"}", nil, 400, ""},
		"an integer that overflows":  {"POST", "/v1/orders", `{"lines":[{"quantity":3000000000}]}`, nil, 400, "quantity"},
		"a body that is too large":   {"POST", "/v1/orders", `{"paymentToken":"` + strings.Repeat("x", 2<<20) + `"}`, nil, 413, "PAYLOAD_TOO_LARGE"},
		"another content type":       {"POST", "/v1/orders", good, map[string]string{"Content-Type": "text/plain"}, 415, ""},
		"a compressed body":          {"POST", "/v1/orders", good, map[string]string{"Content-Encoding": "gzip"}, 415, ""},
		"no key":                     {"POST", "/v1/orders", good, map[string]string{"Idempotency-Key": ""}, 400, "IDEMPOTENCY_KEY_MISSING"},
		"a key that is too long":     {"POST", "/v1/orders", good, map[string]string{"Idempotency-Key": strings.Repeat("k", 256)}, 400, "INVALID_IDEMPOTENCY_KEY"},
		"no token":                   {"POST", "/v1/orders", good, map[string]string{"Authorization": ""}, 401, ""},
		"a token that is none":       {"POST", "/v1/orders", good, map[string]string{"Authorization": "Bearer nonsense"}, 401, ""},
		"a token that is not signed": {"POST", "/v1/orders", good, map[string]string{"Authorization": "Bearer " + unsigned()}, 401, ""},
		"a password as a token":      {"POST", "/v1/orders", good, map[string]string{"Authorization": "Basic YTpi"}, 401, ""},
		"a wrong password":           {"POST", "/v1/sessions", `{"email":"customer@shop.test","password":"wrong"}`, nil, 401, "WRONG_CREDENTIALS"},
		"an unknown user":            {"POST", "/v1/sessions", `{"email":"nobody@shop.test","password":"wrong"}`, nil, 401, "WRONG_CREDENTIALS"},
		"the wrong role":             {"PUT", "/v1/products/bananas-1kg/price", `{"currency":"EUR","minorUnits":"1"}`, nil, 403, ""},
		"a method that is not there": {"DELETE", "/v1/products", "", nil, 405, ""},
		"a path that is not there":   {"GET", "/v1/nothing", "", nil, 404, ""},
		"an internal method":         {"POST", "/argosy.shop.payment.v1.Payment/Capture", `{"orderId":"x"}`, nil, 404, ""},
		"another's order":            {"GET", "/v1/orders/01a20573-13ec-7455-bc50-25a8571e3c1d", "", nil, 404, "ORDER_NOT_FOUND"},
		"a slash in a name":          {"GET", "/v1/products/a%2Fb", "", nil, 404, ""},
		"an unknown parameter":       {"GET", "/v1/products?pagesize=1", "", nil, 400, "pagesize"},
		"a page size of a billion":   {"GET", "/v1/products?pageSize=1000000000", "", nil, 200, "nextPageToken"},
		"a page size that overflows": {"GET", "/v1/products?pageSize=10000000000", "", nil, 400, "pageSize"},
	} {
		t.Run(name, func(t *testing.T) {
			r := f.raw(t, c.method, c.path, c.body, c.header)
			if r.status != c.status || !strings.Contains(string(r.body), c.says) {
				t.Fatalf("got %d %.300s, want %d and %q", r.status, r.body, c.status, c.says)
			}
			if r.status >= 400 && r.header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("the answer is %s", r.header.Get("Content-Type"))
			}
			if r.status == 405 && r.header.Get("Allow") == "" {
				t.Error("it does not say what is allowed")
			}
			if r.status == 401 && r.header.Get("WWW-Authenticate") == "" {
				t.Error("it does not say how to authenticate")
			}
		})
	}
	f.green(10 * time.Second) // and nothing was ordered
	t.Run("a key with another payload", func(t *testing.T) {
		header := map[string]string{"Idempotency-Key": "edge-reused"}
		if r := f.raw(t, "POST", "/v1/orders", good, header); r.status != 200 {
			t.Fatalf("the first: %d %s", r.status, r.body)
		}
		r := f.raw(t, "POST", "/v1/orders", strings.Replace(good, `"quantity":1`, `"quantity":2`, 1), header)
		if r.status != 422 || !strings.Contains(string(r.body), fault.ReasonKeyReused) {
			t.Errorf("got %d %s", r.status, r.body)
		}
	})
}

func TestTheQuotaSettingHolds(t *testing.T) {
	f := start(t, build(t, ""), t.TempDir(), "ARGOSY_QUOTA=0.01")
	var got reply
	for range 3 { // its burst is one call
		got = f.raw(t, "GET", "/v1/products", "", map[string]string{"Authorization": ""})
	}
	if got.status != 429 || got.header.Get("Retry-After") == "" || !strings.Contains(string(got.body), fault.ReasonQuota) {
		t.Errorf("got %d %v %.200s", got.status, got.header, got.body)
	}
	if err := f.stop(); err != nil {
		t.Errorf("drain: %v\n%s", err, f.out)
	}
}

// speak writes text to the HTTP edge and returns the status line of the answer.
func (f *fleet) speak(t *testing.T, text string) string {
	t.Helper()
	conn, err := net.Dial("tcp", f.addrs.HTTP)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, text) // the edge may close before it has all
	line, _ := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(line)
}

// p99 makes n requests, all of which must be answered, and returns how long all
// but a hundredth of them took at most.
func (f *fleet) p99(n int) time.Duration {
	took := make([]time.Duration, n)
	for i := range took {
		begun := time.Now()
		f.must("GET", "/v1/products?pageSize=1", "", nil)
		took[i] = time.Since(begun)
	}
	slices.Sort(took)
	return took[n*99/100]
}

func TestBadConnectionsAreClosedAndOthersUnharmed(t *testing.T) {
	f := start(t, build(t, ""), t.TempDir())
	if got := f.speak(t, "GET / HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 1<<20)+"\r\n\r\n"); !strings.Contains(got, "431") {
		t.Errorf("headers that are too large got %q", got)
	}
	if got := f.speak(t, "NONSENSE\r\n\r\n"); !strings.Contains(got, "400") {
		t.Errorf("no HTTP got %q", got)
	}
	if got := f.speak(t, "GET /readyz HTTP/1.1\r\nHost: x\r\nX-Slow"); strings.Contains(got, "200") { // never ends its headers
		t.Errorf("slow headers got %q", got)
	}
	before := f.p99(200)
	var slow []net.Conn
	for i := range 500 {
		conn, err := net.Dial("tcp", f.addrs.HTTP)
		if err != nil {
			t.Fatal(err)
		}
		slow = append(slow, conn)
		if i%2 == 0 { // the others say nothing at all
			_, _ = io.WriteString(conn, "POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nX-Slow")
		}
	}
	during := f.p99(200)
	t.Logf("p99 of a good client: %v before, %v beside 500 connections that are slow", before, during)
	for _, conn := range slow {
		_ = conn.Close()
	}
	if err := f.stop(); err != nil {
		t.Errorf("drain: %v\n%s", err, f.out)
	}
}

func TestBadCallsOverGRPCAreAnsweredByTheTable(t *testing.T) {
	f := start(t, build(t, ""), t.TempDir())
	f.signIn("customer@shop.test")
	conn, err := grpc.NewClient(f.addrs.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	orders := orderpb.NewOrdersClient(conn)
	large := &orderpb.PlaceOrderRequest{PaymentToken: strings.Repeat("x", 5<<20)}
	for name, c := range map[string]struct {
		md   []string
		req  *orderpb.PlaceOrderRequest
		want codes.Code
	}{
		"no token":            {[]string{"idempotency-key", "k"}, &orderpb.PlaceOrderRequest{}, codes.Unauthenticated},
		"an unsigned token":   {[]string{"authorization", "Bearer " + unsigned(), "idempotency-key", "k"}, &orderpb.PlaceOrderRequest{}, codes.Unauthenticated},
		"two tokens":          {[]string{"authorization", "Bearer " + f.token, "authorization", "Bearer x"}, &orderpb.PlaceOrderRequest{}, codes.Unauthenticated},
		"no key":              {[]string{"authorization", "Bearer " + f.token}, &orderpb.PlaceOrderRequest{}, codes.InvalidArgument},
		"no lines":            {[]string{"authorization", "Bearer " + f.token, "idempotency-key", "k"}, &orderpb.PlaceOrderRequest{PaymentToken: "tok_ok"}, codes.InvalidArgument},
		"too large":           {[]string{"authorization", "Bearer " + f.token, "idempotency-key", "k"}, large, codes.ResourceExhausted},
		"headers over 64 KiB": {[]string{"authorization", "Bearer " + f.token, "x", strings.Repeat("x", 100<<10)}, &orderpb.PlaceOrderRequest{}, codes.ResourceExhausted},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := orders.PlaceOrder(metadata.AppendToOutgoingContext(t.Context(), c.md...), c.req)
			if got := status.Code(err); got != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+f.token)
	if err := conn.Invoke(ctx, "/argosy.shop.order.v1.Orders/Nothing", &orderpb.GetOrderRequest{}, &orderpb.Order{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("a method that is not there: %v", err)
	}
	if _, err := orders.GetOrder(ctx, &orderpb.GetOrderRequest{Id: fmt.Sprint(7)}); status.Code(err) != codes.NotFound {
		t.Errorf("an order that is not there: %v", err)
	}
}
