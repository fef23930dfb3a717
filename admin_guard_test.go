package argosy

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/argosy-go/argosy/fault"
)

const token = "0123456789abcdef0123456789abcdef"

// asked is a request as it reaches the guard from this machine's own tools.
func asked(method, body string, change ...func(*http.Request)) *http.Request {
	r := httptest.NewRequest(method, "http://127.0.0.1:9091/services/order/dead-letters/replay", strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:40000"
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, c := range change {
		c(r)
	}
	return r
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Add(name, value) }
}

func from(addr string) func(*http.Request) { return func(r *http.Request) { r.RemoteAddr = addr } }
func host(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }

// brokenBody is a body whose sender went away in the middle.
type brokenBody struct{}

func (brokenBody) Read([]byte) (int, error) { return 0, errors.New("gone") }

func TestTheGuardRefuses(t *testing.T) {
	large := `"` + strings.Repeat("x", adminBody) + `"`
	for name, c := range map[string]struct {
		token   string
		request *http.Request
		status  int
		reason  string
	}{
		"another machine, without a token":                {"", asked("GET", "", from("10.0.0.7:40000")), 403, reasonRemote},
		"another machine over IPv6":                       {"", asked("GET", "", from("[2001:db8::1]:40000")), 403, reasonRemote},
		"a remote address that is none":                   {"", asked("GET", "", from("@")), 403, reasonRemote},
		"a name that was rebound to loopback":             {"", asked("GET", "", host("evil.example:9091")), 403, reasonHost},
		"a name that begins like loopback":                {"", asked("GET", "", host("127.0.0.1.evil.example")), 403, reasonHost},
		"a name that ends like localhost":                 {"", asked("GET", "", host("evil.localhost.example")), 403, reasonHost},
		"the unspecified address, which reaches loopback": {"", asked("GET", "", host("0.0.0.0:9091")), 403, reasonHost},
		"no host":                             {"", asked("GET", "", host("")), 403, reasonHost},
		"what a proxy forwarded":              {"", asked("GET", "", header("X-Forwarded-For", "10.0.0.7")), 403, reasonForwarded},
		"what a proxy forwarded, by RFC 7239": {"", asked("GET", "", header("Forwarded", "for=10.0.0.7")), 403, reasonForwarded},
		"what a proxy passed on":              {"", asked("GET", "", header("Via", "1.1 proxy")), 403, reasonForwarded},
		"a form of another site's page":       {"", asked("POST", "", header("Origin", "https://evil.example")), 403, reasonCrossSite},
		"a page without an origin":            {"", asked("POST", "", header("Origin", "null")), 403, reasonCrossSite},
		"a page of another port":              {"", asked("POST", "", header("Origin", "http://127.0.0.1:8080")), 403, reasonCrossSite},
		"two origins, the first a good one":   {"", asked("POST", "", header("Origin", "http://127.0.0.1:9091"), header("Origin", "http://evil.example")), 403, reasonCrossSite},
		"a fetch across sites":                {"", asked("GET", "", header("Sec-Fetch-Site", "cross-site")), 403, reasonCrossSite},
		"a fetch within a site":               {"", asked("GET", "", header("Sec-Fetch-Site", "same-site")), 403, reasonCrossSite},
		"this machine, without the token":     {token, asked("GET", ""), 401, reasonToken},
		"another token":                       {token, asked("GET", "", header("Authorization", "Bearer "+token[1:]+"x")), 401, reasonToken},
		"the token's beginning":               {token, asked("GET", "", header("Authorization", "Bearer "+token[:16])), 401, reasonToken},
		"the token by another scheme":         {token, asked("GET", "", header("Authorization", "Basic "+token)), 401, reasonToken},
		"the empty token":                     {token, asked("GET", "", header("Authorization", "Bearer ")), 401, reasonToken},
		"a token in the query":                {token, asked("GET", "", func(r *http.Request) { r.URL.RawQuery = "access_token=" + token }), 401, reasonToken},
		"a body over the limit":               {"", asked("POST", large), 413, fault.ReasonTooLarge},
		"a body that does not arrive":         {"", asked("POST", "x", func(r *http.Request) { r.Body = io.NopCloser(brokenBody{}) }), 400, reasonIncomplete},
		"a body that a form can send":         {"", asked("POST", "a=b", func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }), 415, fault.ReasonMediaType},
		"a body without a type":               {"", asked("POST", "{}", func(r *http.Request) { r.Header.Del("Content-Type") }), 415, fault.ReasonMediaType},
		"an actor that is too long":           {"", asked("GET", "", header(actorHeader, strings.Repeat("a", actorLength+1))), 400, reasonActor},
		"an actor that is not UTF-8":          {"", asked("GET", "", header(actorHeader, "\xff")), 400, reasonActor},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOperators(c.token, slog.New(slog.DiscardHandler), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				t.Error("the handler was asked")
			}))
			w := httptest.NewRecorder()
			o.ServeHTTP(w, c.request)
			var p fault.Problem
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Header().Get("Content-Type") != fault.ProblemType {
				t.Fatalf("it is no problem document: %v %s", err, w.Body)
			}
			if w.Code != c.status || p.Reason != c.reason || !p.NotDone {
				t.Errorf("got %d %+v, want %d %s", w.Code, p, c.status, c.reason)
			}
			if strings.Contains(w.Body.String(), token) {
				t.Error("the answer holds the token")
			}
			if (w.Code == 401) != (w.Header().Get("WWW-Authenticate") != "") {
				t.Errorf("WWW-Authenticate of a %d: %q", w.Code, w.Header().Get("WWW-Authenticate"))
			}
		})
	}
}

func TestTheGuardLetsOperatorsThrough(t *testing.T) {
	for name, c := range map[string]struct {
		token   string
		request *http.Request
		actor   string
	}{
		"a tool on this machine":           {"", asked("POST", "{}"), actorUnknown},
		"a tool that asks for localhost":   {"", asked("GET", "", host("LocalHost:9091")), actorUnknown},
		"a tool over IPv6":                 {"", asked("GET", "", from("[::1]:40000"), host("[::1]:9091")), actorUnknown},
		"a tool over IPv6, no port":        {"", asked("GET", "", from("[::1]:40000"), host("[::1]")), actorUnknown},
		"a mapped address":                 {"", asked("GET", "", from("[::ffff:127.0.0.1]:40000")), actorUnknown},
		"a page of the listener's own":     {"", asked("POST", "{}", header("Origin", "http://127.0.0.1:9091"), header("Sec-Fetch-Site", "same-origin")), actorUnknown},
		"a person who typed the address":   {"", asked("GET", "", header("Sec-Fetch-Site", "none")), actorUnknown},
		"another machine with the token":   {token, asked("POST", "{}", from("10.0.0.7:1"), host("shop.example"), header("Authorization", "Bearer "+token)), actorUnknown},
		"the scheme in small letters":      {token, asked("POST", "{}", header("Authorization", "bearer "+token)), actorUnknown},
		"a proxy with the token":           {token, asked("POST", "{}", header("X-Forwarded-For", "10.0.0.7"), header("Authorization", "Bearer "+token)), actorUnknown},
		"an operator who says their name":  {"", asked("POST", "{}", header(actorHeader, "Zoë@desk")), "Zoë@desk"},
		"an operator with the longest one": {"", asked("POST", "{}", header(actorHeader, strings.Repeat("a", actorLength))), strings.Repeat("a", actorLength)},
	} {
		t.Run(name, func(t *testing.T) {
			through := false
			o := newOperators(c.token, slog.New(slog.DiscardHandler), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				through = true
				if got := r.Header.Get(actorHeader); got != c.actor {
					t.Errorf("the actor is %q", got)
				}
				if r.Header.Get("Authorization") != "" {
					t.Error("the handler sees the token")
				}
				if _, limited := r.Context().Deadline(); !limited {
					t.Error("the handler's time has no limit")
				}
			}))
			w := httptest.NewRecorder()
			o.ServeHTTP(w, c.request)
			if !through {
				t.Errorf("refused: %d %s", w.Code, w.Body)
			}
			if w.Header().Get("Cache-Control") != "no-store" {
				t.Error("the answer may be kept by caches")
			}
		})
	}
}

func TestATokenThatIsNoneIsRefusedAtTheStart(t *testing.T) {
	for name, c := range map[string]struct {
		token string
		good  bool
	}{
		"none at all":            {"", true},
		"a good one":             {token, true},
		"too short":              {"hunter2", false},
		"with a line's end":      {token + "\n", false},
		"with a space":           {token + " " + token, false},
		"not of ASCII":           {token + "ö", false},
		"of the shortest length": {token[:adminToken], true},
	} {
		t.Run(name, func(t *testing.T) {
			err := checkAdminToken(c.token)
			if (err == nil) != c.good {
				t.Errorf("got %v", err)
			}
			if err != nil && c.token != "" && strings.Contains(err.Error(), c.token) {
				t.Errorf("the error shows it: %v", err)
			}
		})
	}
}

// oneConn is a listener that accepts one connection.
type oneConn struct {
	conns chan net.Conn
	done  chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *oneConn) Close() error   { close(l.done); return nil }
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

func TestABodyThatComesTooSlowlyIsGivenUpAndASlowHandlerIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		server := &http.Server{Handler: newOperators(token, slog.New(slog.DiscardHandler), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			asked++
			<-time.After(2 * adminRead) // of the bubble's clock: the time for the body is not the handler's
			if _, err := io.ReadAll(r.Body); err != nil || r.Context().Err() != nil {
				t.Error(err, r.Context().Err())
			}
		}))}
		line := &oneConn{make(chan net.Conn, 1), make(chan struct{})}
		here, there := net.Pipe()
		line.conns <- there
		go func() { _ = server.Serve(line) }() // it ends by the Close below
		defer server.Close()
		defer here.Close()
		answers := bufio.NewReader(here)
		send := func(body string) *http.Response {
			t.Helper()
			head := "POST /services HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + token + "\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"
			if _, err := io.WriteString(here, head+body); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				t.Fatal(err)
			}
			return resp
		}
		if r := send("{}"); r.StatusCode != 200 || asked != 1 {
			t.Errorf("a whole body: %d", r.StatusCode)
		}
		begun := time.Now()
		if r := send("{"); r.StatusCode != 400 || asked != 1 {
			t.Errorf("half a body: %d", r.StatusCode)
		}
		if took := time.Since(begun); took != adminRead {
			t.Errorf("it was given up after %s", took)
		}
	})
}
