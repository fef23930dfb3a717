package argosy_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/rpc"
)

// pages mounts a hook that answers with what it was sent.
func pages(s *argosy.Setup) {
	s.Handle("POST /hooks/echo", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		_, _ = w.Write(b) // the test sees what is missing
	}))
}

// twoProcesses starts service back in one fleet, and front in another that is
// the edge of both.
func twoProcesses(t *testing.T, back, front argosy.Service) (edge *argosy.Fleet) {
	t.Helper()
	far := program(t, front, back)
	far.Args = append(far.Args, "--only="+back.Name)
	behind := start(t, far)
	near := program(t, front, back)
	near.Args = append(near.Args, "--only="+front.Name, "--edge",
		"--peers="+back.Name+"="+behind.Addrs().GRPC, "--http-peers="+back.Name+"=127.0.0.1:1|"+behind.Addrs().HTTP)
	return start(t, near)
}

func TestNobodyOutsideLearnsWhereAServiceIs(t *testing.T) {
	p := program(t, serving("greeter", hello), serving("other", nil))
	p.Args = append(p.Args, "--only=other", "--edge", "--peers=greeter=127.0.0.1:1") // nobody listens there
	url := "http://" + start(t, p).Addrs().HTTP
	code, body := post(t, url+"/v1/greetings", `{"name":"Ada"}`)
	if code != 503 || !strings.Contains(body, rpc.ReasonUnreachable) || strings.Contains(body, "127.0.0.1") || strings.Contains(body, "argosy_") {
		t.Errorf("%d %s", code, body)
	}
}

func TestTheEdgeServesTheRoutesOfServicesElsewhere(t *testing.T) {
	keys := make(chan string, 1)
	var tries atomic.Int32
	greet := func(ctx context.Context, name string) (string, error) {
		switch name {
		case "nobody":
			return "", fault.New(codes.NotFound, "NO_SUCH_GUEST", "there is no %s", name)
		case "busy":
			if tries.Add(1) == 1 {
				return "", fault.New(codes.Unavailable, "RESTARTING", "not now").Refused()
			}
		case "keyed":
			keys <- rpc.IdempotencyKey(ctx)
		}
		return "Hello, " + name, nil
	}
	f := twoProcesses(t, serving("greeter", greet, pages), argosy.Service{Name: "web", Setup: func(*argosy.Setup) error { return nil }})
	url := "http://" + f.Addrs().HTTP
	if code, body := post(t, url+"/v1/greetings", `{"name":"Ada"}`); code != 200 || !strings.Contains(body, "Hello, Ada") {
		t.Errorf("a route: %d %s", code, body)
	}
	if code, body := post(t, url+"/v1/greetings", `{"name":"nobody"}`); code != 404 || !strings.Contains(body, "NO_SUCH_GUEST") {
		t.Errorf("an error: %d %s", code, body)
	}
	if code, body := post(t, url+"/v1/greetings", `{"name":"busy"}`); code != 200 || tries.Load() != 2 {
		t.Errorf("what was not done is not done again: %d %s, %d tries", code, body, tries.Load())
	}
	if code, body := post(t, url+"/v1/greetings", `{"nmae":"Ada"}`); code != 400 {
		t.Errorf("a bad request: %d %s", code, body)
	}
	for range 4 { // the first of its addresses never answers
		if code, body := post(t, url+"/hooks/echo", `{"a":1}`); code != 200 || body != `{"a":1}` {
			t.Errorf("a hook: %d %s", code, body)
		}
	}
	if code, body := post(t, url+"/hooks/echo", strings.Repeat("x", 1<<20+1)); code != 413 {
		t.Errorf("a large body: %d %s", code, body)
	}
	req, err := http.NewRequestWithContext(t.Context(), "POST", url+"/v1/greetings", strings.NewReader(`{"name":"keyed"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", "the-callers-own")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close() // nobody reads it
	if resp.StatusCode != 200 {
		t.Fatalf("with a key: %d", resp.StatusCode)
	}
	if key := <-keys; key != "the-callers-own" {
		t.Errorf("the handler got the key %q", key)
	}
}

func TestTheEdgeAnswersForAServiceThatIsAway(t *testing.T) {
	p := program(t, serving("web", nil), serving("greeter", hello, pages))
	p.Args = append(p.Args, "--only=web", "--edge", "--peers=greeter=127.0.0.1:1", "--http-peers=greeter=127.0.0.1:1")
	f := start(t, p)
	for _, path := range []string{"/v1/greetings", "/hooks/echo"} {
		if code, body := post(t, "http://"+f.Addrs().HTTP+path, `{"name":"Ada"}`); code != 503 {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
}

func TestWithoutEdgeAProcessServesItsOwnRoutesOnly(t *testing.T) {
	p := program(t, serving("web", nil), serving("greeter", hello, pages))
	p.Args = append(p.Args, "--only=web", "--peers=greeter=127.0.0.1:1")
	f := start(t, p)
	if code, body := post(t, "http://"+f.Addrs().HTTP+"/v1/greetings", `{"name":"Ada"}`); code != 404 {
		t.Errorf("%d %s", code, body)
	}
}

func TestTheOriginIsTheListenerUnlessItIsSaid(t *testing.T) {
	got := make(chan string, 1)
	svc := serving("web", nil, func(s *argosy.Setup) {
		s.OnStart("look", func(context.Context) error { got <- s.Origin(); return nil })
	})
	f := start(t, program(t, svc))
	if o := <-got; o != "http://"+f.Addrs().HTTP {
		t.Errorf("origin %q", o)
	}
	p := program(t, svc)
	p.Args = append(p.Args, "--origin=https://shop.example/")
	start(t, p)
	if o := <-got; o != "https://shop.example" {
		t.Errorf("origin %q", o)
	}
}

func TestAProgramDescribesItselfWithoutOpeningAnything(t *testing.T) {
	var out strings.Builder
	p := program(t, serving("web", nil, pages), serving("greeter", hello))
	dir := t.TempDir() + "/none"
	p.Stdout = &out
	p.Args = append(p.Args, "--describe", "--data="+dir)
	p.Env = func(name string) (string, bool) {
		return "nats://user:secret@127.0.0.1:1", name == "ARGOSY_BROKER"
	}
	if code := argosy.Run(t.Context(), p); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	var d argosy.Description
	if err := json.Unmarshal([]byte(out.String()), &d); err != nil {
		t.Fatal(err)
	}
	if d.Program != "test" || d.Data != dir || d.Store != "sqlite" || d.Broker != "nats" || strings.Contains(out.String(), "secret") {
		t.Errorf("%s", out.String())
	}
	if len(d.Services) != 2 || !slices.Equal(d.Services[0].Handles, []string{"POST /hooks/echo"}) || !slices.Equal(d.Services[1].Serves, []string{"argosy.guide.greeter.v1.Greeter"}) {
		t.Errorf("%s", out.String())
	}
}

func TestABannerThatIsNotWantedLeavesTheHints(t *testing.T) {
	var out strings.Builder
	p := program(t, serving("web", nil, func(s *argosy.Setup) {
		s.OnStart("hint", func(context.Context) error { s.Hint("sign in as ada"); return nil })
	}))
	p.Stdout = &out
	p.Args = append(p.Args, "--banner=false")
	f, err := argosy.Start(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := f.Stop(ctx); err != nil {
		t.Error(err)
	}
	if out.String() != "  sign in as ada\n" {
		t.Errorf("%q", out.String())
	}
}
