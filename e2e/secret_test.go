package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/argosy-go/argosy/internal/pgtest"
	"github.com/argosy-go/argosy/store/sqlite"
)

// mark returns a secret that nothing else looks like.
func mark(what string) string { return "marker-" + what + "-7f3a9c2e51" }

// seen is everything that people get to see of a fleet, by where it was seen.
type seen struct {
	t    *testing.T
	mu   sync.Mutex
	text map[string]string
}

func (s *seen) add(where, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text[where] += text + "\n"
}

// mustHide fails for each secret that is anywhere, also in base64 and in a URL.
func (s *seen) mustHide(secrets map[string]string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for what, secret := range secrets {
		for where, text := range s.text {
			if at := strings.Index(text, secret); at >= 0 {
				s.t.Errorf("%s is in %s: …%s…", what, where, text[max(0, at-200):min(len(text), at+len(secret)+50)])
			}
		}
	}
}

// spanSink receives all of every span over OTLP.
type spanSink struct {
	collectorpb.UnimplementedTraceServiceServer
	seen *seen
}

func (c *spanSink) Export(_ context.Context, req *collectorpb.ExportTraceServiceRequest) (*collectorpb.ExportTraceServiceResponse, error) {
	text, err := protojson.Marshal(req)
	c.seen.add("a span", string(text))
	return &collectorpb.ExportTraceServiceResponse{}, err
}

func (s *seen) collect() (addr string) {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	g := grpc.NewServer()
	collectorpb.RegisterTraceServiceServer(g, &spanSink{seen: s})
	done := make(chan error, 1)
	go func() { done <- g.Serve(l) }()
	s.t.Cleanup(func() {
		g.Stop()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	})
	return l.Addr().String()
}

// operator asks the admin listener with its token.
func (s *seen) operator(f *fleet, token, path string) (body string) {
	s.t.Helper()
	r, err := http.NewRequest(http.MethodGet, "http://"+f.addrs.Admin+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		s.t.Fatalf("%s: %d %v %s", path, resp.StatusCode, err, b)
	}
	s.add("GET "+path, string(b))
	return string(b)
}

// asks sends a request and keeps the answer.
func (s *seen) asks(f *fleet, want int, method, path, key string, body any) {
	s.t.Helper()
	r, err := f.call(method, path, key, body)
	if err != nil || r.status != want {
		s.t.Errorf("%s %s: %v, %d %s; want %d", method, path, err, r.status, r.body, want)
	}
	s.add("the answer to "+method+" "+path, fmt.Sprint(string(r.body), r.header))
}

// Secrets are given in every place there is, the shop works with them, fails and
// is looked at by operators, and nothing that it shows holds one.
func TestNoSecretIsShownAnywhere(t *testing.T) {
	s := &seen{t: t, text: map[string]string{}}
	dir := t.TempDir()
	secrets := map[string]string{
		"the admin token": mark("admin"), "the password of the users": mark("password"),
		"the bank's webhook secret": mark("bank"), "the carrier's webhook secret": mark("carrier"),
		"a payment token": mark("token"), "a wrong password": mark("wrong"), "a credential of no good": mark("bearer"),
		"an event that cannot be decoded": "not a message", "that event in base64": "//9ub3QgYSBtZXNzYWdl",
		"an unknown field": mark("unknown"),
	}
	adminToken := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(adminToken, []byte(secrets["the admin token"]+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := start(t, build(t, ""), dir, "ARGOSY_LOG_LEVEL=debug", "ARGOSY_OTLP="+s.collect(), "ARGOSY_ADMIN_TOKEN_FILE="+adminToken,
		"ARGOSY_SHOP_DEV_PASSWORD="+secrets["the password of the users"],
		"PAYMENT_WEBHOOK_SECRET="+secrets["the bank's webhook secret"], "SHIPPING_WEBHOOK_SECRET="+secrets["the carrier's webhook secret"])
	key, err := os.ReadFile(filepath.Join(dir, "auth", "signer.key"))
	if err != nil {
		t.Fatal(err)
	}
	secrets["the key of the fleet"] = strings.Split(string(key), "\n")[1]

	s.asks(f, 401, "POST", "/v1/sessions", "", map[string]string{"email": "customer@shop.test", "password": secrets["a wrong password"]})
	s.asks(f, 400, "POST", "/v1/sessions", "", map[string]any{"email": "customer@shop.test", "password": []string{secrets["a wrong password"]}})
	s.asks(f, 400, "POST", "/v1/sessions", "", map[string]string{"email": "", "password": secrets["a wrong password"]})
	s.asks(f, 400, "POST", "/v1/sessions", "", map[string]string{"email": "x", "password": "x", "cardNumber": secrets["an unknown field"]})
	f.token = secrets["a credential of no good"]
	s.asks(f, 401, "GET", "/v1/me", "", nil)
	f.token = "ak_" + secrets["a credential of no good"]
	s.asks(f, 401, "GET", "/v1/me", "", nil)
	f.token = ""
	f.token = f.must("POST", "/v1/sessions", "", map[string]string{"email": "customer@shop.test", "password": secrets["the password of the users"]}).field("token")
	secrets["a token"] = f.token
	machine := f.must("POST", "/v1/api-keys", "", map[string]any{"name": "till"}).field("secret")
	secrets["an API key"] = machine
	f.token = machine
	s.asks(f, 200, "GET", "/v1/api-keys", "", nil)
	product := f.products()[0]
	id := f.must("POST", "/v1/orders", "k1", order(secrets["a payment token"], product)).field("id")
	s.asks(f, 422, "POST", "/v1/orders", "k1", order(secrets["a payment token"]+"x", product))
	s.asks(f, 400, "POST", "/v1/orders", "k2", map[string]any{"paymentToken": map[string]string{"x": secrets["a payment token"]}})
	s.asks(f, 400, "POST", "/v1/orders", "k3", order(secrets["a payment token"], "no such product"))
	s.asks(f, 401, "POST", "/v1/webhooks/bank", "", map[string]string{"x": secrets["a payment token"]})
	state := f.awaitEnd(id)
	s.asks(f, 200, "GET", "/v1/orders/"+id, "", nil)

	poison := exec.Command(tool(t, "./poison"), sqlite.Path(dir, "order"), "argosy.shop.order.v1.OrderConfirmed", "poison-1")
	if out, err := poison.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	withToken := func(args ...string) []string { return append(args, "--token-file", adminToken) }
	list := f.awaitArgosy(`"key": "poison-1"`, withToken("event", "dead", "list", "--service", "notify", "--output", "json")...)
	var letters struct{ DeadLetters []struct{ ID string } }
	if err := json.Unmarshal([]byte(list), &letters); err != nil || len(letters.DeadLetters) != 1 {
		t.Fatalf("%v: %s", err, list)
	}
	for _, args := range [][]string{
		{"event", "dead", "show", letters.DeadLetters[0].ID}, {"event", "dead", "list"}, {"event", "status"}, {"saga", "list"},
		{"saga", "show", id},
	} {
		for _, form := range []string{"table", "json"} {
			s.add("argosy "+strings.Join(args, " "), f.mustArgosy(withToken(append(args, "--output", form)...)...))
		}
	}
	for _, path := range []string{"/guards", "/endpoints", "/services", "/metrics", "/services/notify/dead-letters", "/services/notify/dead-letters/" + url.PathEscape(letters.DeadLetters[0].ID), "/services/order/events", "/services/order/sagas"} {
		s.operator(f, secrets["the admin token"], path)
	}
	if err := f.stop(); err != nil {
		t.Error(err)
	}
	s.add("the output", f.out.String())
	for where, want := range map[string]string{"a span": "PlaceOrder", "the output": `"level":"DEBUG"`, "GET /services/notify/dead-letters": "poison-1"} {
		if !strings.Contains(s.text[where], want) {
			t.Errorf("there is no %s in %s, so nothing was looked at", want, where)
		}
	}
	t.Logf("the order ended %s; %d places were looked at", state, len(s.text))
	s.mustHide(secrets)
}

// The URL of an engine is shown when the engine cannot be reached: never with
// its password.
func TestThePasswordOfAnEngineIsNotShown(t *testing.T) {
	s := &seen{t: t, text: map[string]string{}}
	secret := mark("engine")
	shop := build(t, "")
	var all sync.WaitGroup
	for name, env := range map[string][]string{
		"a store that is away":         {"ARGOSY_STORE=postgres://shop:" + secret + "@127.0.0.1:1/shop?connect_timeout=1"},
		"a store that is not known":    {"ARGOSY_STORE=oracle://shop:" + secret + "@127.0.0.1:1/shop"},
		"a URL that is none":           {"ARGOSY_STORE=postgres://shop:" + secret + "@127.0.0.1:port/shop"},
		"a broker that is away":        {"ARGOSY_BROKER=nats://shop:" + secret + "@127.0.0.1:1"},
		"a broker that is not known":   {"ARGOSY_BROKER=mqtt://shop:" + secret + "@127.0.0.1:1"},
		"a discovery that is not read": {"ARGOSY_DISCOVERY=etcd://shop:" + secret + "@127.0.0.1:port"},
		"an admin token that is short": {"ARGOSY_ADMIN_TOKEN=" + secret[len(secret)-10:]},
	} {
		data := t.TempDir()
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			cmd := exec.CommandContext(ctx, shop, "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data", data, "--log-level", "debug")
			cmd.Env = append(os.Environ(), env...)
			out, err := cmd.CombinedOutput()
			cancel()
			if err == nil {
				t.Errorf("%s: the shop started", name)
			}
			s.add(name, string(out))
			for _, flag := range []string{"--describe", "--help"} {
				cmd := exec.Command(shop, flag)
				cmd.Env = append(os.Environ(), env...)
				out, _ := cmd.CombinedOutput() // the token that is short fails it
				s.add(name+", "+flag, string(out))
			}
		})
	}
	all.Wait()
	if pgtest.Available() {
		u, err := url.Parse(pgtest.Database(t))
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword(u.User.Username(), secret)
		file := filepath.Join(t.TempDir(), "store")
		if err := os.WriteFile(file, []byte(u.String()+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		f := start(t, build(t, ""), t.TempDir(), "ARGOSY_STORE_FILE="+file, "ARGOSY_LOG_LEVEL=debug")
		f.signIn("customer@shop.test")
		if err := f.stop(); err != nil {
			t.Error(err)
		}
		s.add("a shop on Postgres", f.out.String())
	}
	s.mustHide(map[string]string{"the password": secret, "the end of it": secret[len(secret)-10:]})
}
