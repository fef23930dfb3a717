package argosy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/fault"
)

// safe is a buffer for what several goroutines log.
type safe struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *safe) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(b)
}

func (s *safe) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// operable is a service whose operators can look, change, and make it panic.
func operable(name string) argosy.Service {
	return serving(name, nil, func(s *argosy.Setup) {
		s.Admin("GET /things/{id}", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%s at %s", r.PathValue("id"), r.URL.Path)
		}))
		s.Admin("POST /things", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				fault.WriteHTTP(w, err)
				return
			}
			fmt.Fprintf(w, "%s by %s", body, r.Header.Get("Argosy-Actor"))
		}))
		s.Admin("POST /conflicts", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fault.WriteHTTP(w, fault.New(codes.Aborted, "MOVED_ON", "it has moved on"))
		}))
		s.Admin("POST /panics", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("the thing broke") }))
	})
}

// operator asks the admin listener of f.
func operator(t *testing.T, f *argosy.Fleet, method, path, body string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+f.Addrs().Admin+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestOperatorsReachTheirHandlersUnderTheServicesName(t *testing.T) {
	f := start(t, program(t, operable("order"), operable("stock")))
	for name, c := range map[string]struct {
		method, path, body string
		code               int
		want               string
	}{
		"a look":                           {"GET", "/services/stock/things/7", "", 200, "7 at /things/7"},
		"an id with a slash":               {"GET", "/services/order/things/a%2Fb", "", 200, "a/b at /things/a/b"},
		"a change":                         {"POST", "/services/order/things", `{"n":1}`, 200, `{"n":1} by unknown`},
		"a path that is none":              {"GET", "/services/order/nothing", "", 404, "NO_SUCH_PATH"},
		"a method that is none":            {"DELETE", "/services/order/things", "", 405, "METHOD_NOT_ALLOWED"},
		"a service that is none":           {"GET", "/services/pricing/things/7", "", 404, "here run: order, stock"},
		"a handler that panics":            {"POST", "/services/order/panics", "{}", 500, `"code":"INTERNAL"`},
		"a change that the handler denies": {"POST", "/services/order/conflicts", "{}", 409, "MOVED_ON"},
	} {
		t.Run(name, func(t *testing.T) {
			if code, body := operator(t, f, c.method, c.path, c.body); code != c.code || !strings.Contains(body, c.want) {
				t.Errorf("got %d %s", code, body)
			}
		})
	}
}

func TestTheListOfServicesTellsTheirEdges(t *testing.T) {
	f := start(t, program(t, serving("greeter", hello), operable("order")))
	code, body := operator(t, f, "GET", "/services", "")
	var list struct{ Services []argosy.ServiceInfo }
	if err := json.Unmarshal([]byte(body), &list); err != nil || code != 200 {
		t.Fatalf("%d %v %s", code, err, body)
	}
	if len(list.Services) != 2 || list.Services[0].Name != "greeter" || len(list.Services[0].Serves) != 1 || !strings.HasSuffix(list.Services[0].Serves[0], "Greeter") {
		t.Errorf("got %+v", list)
	}
	if strings.Contains(body, "null") {
		t.Errorf("an empty list is null: %s", body)
	}
}

func TestEveryChangeIsLoggedWithItsActorAndOutcome(t *testing.T) {
	var log safe
	p := program(t, operable("order"))
	p.Stderr, p.Args = &log, append(p.Args, "--log-format=json")
	f := start(t, p)
	operator(t, f, "GET", "/services/order/things/7", "", "Argosy-Actor", "looker")
	operator(t, f, "POST", "/services/order/things", "{}", "Argosy-Actor", "ada@desk")
	operator(t, f, "POST", "/services/order/conflicts", "{}", "Argosy-Actor", "bob@desk")
	operator(t, f, "POST", "/services/order/panics", "{}", "Argosy-Actor", "eve@desk")
	operator(t, f, "POST", "/services/order/things", "{}", "Origin", "https://evil.example")
	for actor, want := range map[string][]string{
		"ada@desk": {`"path":"/services/order/things"`, `"status":200`, `"method":"POST"`, `"service":"order"`},
		"bob@desk": {`"path":"/services/order/conflicts"`, `"status":409`},
		"eve@desk": {`"path":"/services/order/panics"`, `"status":500`},
		"":         {`"msg":"operator refused"`, `"reason":"ADMIN_CROSS_SITE"`, `"remote":"127.0.0.1:`},
	} {
		found := false
		for line := range strings.Lines(log.String()) {
			hit := strings.Contains(line, `"actor":"`+actor) || actor == "" && strings.Contains(line, "refused")
			for _, w := range want {
				hit = hit && strings.Contains(line, w)
			}
			found = found || hit
		}
		if !found {
			t.Errorf("no line of %q with %v in\n%s", actor, want, log.String())
		}
	}
	if strings.Contains(log.String(), "looker") {
		t.Error("a look was logged as a change")
	}
}

func TestWithATokenNobodyIsServedWithoutIt(t *testing.T) {
	const token = "correct-horse-battery-staple"
	p := program(t, operable("order"))
	p.Env = func(name string) (string, bool) { return token, name == "ARGOSY_ADMIN_TOKEN" }
	f := start(t, p)
	for _, path := range []string{"/services", "/services/order/things/7", "/services/order/nothing", "/services/pricing"} {
		if code, body := operator(t, f, "GET", path, ""); code != 401 || !strings.Contains(body, "ADMIN_TOKEN_REQUIRED") {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if code, body := operator(t, f, "GET", "/services", "", "Authorization", "Bearer "+token); code != 200 {
		t.Errorf("with the token: %d %s", code, body)
	}
	if code, _ := get(t, "http://"+f.Addrs().Admin+"/readyz"); code != 200 {
		t.Errorf("an orchestrator needs the token: %d", code)
	}
}

func TestAFleetWithABadAdminTokenOrHandlerDoesNotStart(t *testing.T) {
	short := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(short, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args    []string
		pattern string
		want    string
	}{
		"a token that can be guessed": {[]string{"--admin-token-file=" + short}, "GET /a", "admin token: it has 7 characters"},
		"a token that everybody sees": {[]string{"--admin-token=hunter2"}, "GET /a", "every user of this machine sees command lines"},
		"a pattern with a host":       {nil, "GET evil.example/a", "must begin with a slash"},
		"a pattern that is none":      {nil, "GET /{", "handle"},
	} {
		t.Run(name, func(t *testing.T) {
			p := program(t, serving("order", nil, func(s *argosy.Setup) { s.Admin(c.pattern, http.NotFoundHandler()) }))
			p.Args = append(p.Args, c.args...)
			if f, err := argosy.Start(t.Context(), p); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v %v", f, err)
			}
		})
	}
}
