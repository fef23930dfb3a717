package argosy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/auth"
	pb "github.com/argosy-go/argosy/docs/guide/greeter/greeterpb"
	"github.com/argosy-go/argosy/engine/embedded"
	"github.com/argosy-go/argosy/service"
)

// greeter is a service without state.
type greeter struct {
	pb.UnimplementedGreeterServer
	greet func(ctx context.Context, name string) (string, error)
}

func (g greeter) Greet(ctx context.Context, req *pb.GreetRequest) (*pb.Greeting, error) {
	text, err := g.greet(ctx, req.Name)
	return &pb.Greeting{Text: text}, err
}

func hello(_ context.Context, name string) (string, error) { return "Hello, " + name, nil }

// serving returns a service that greets, set up further by more.
func serving(name string, greet func(context.Context, string) (string, error), more ...func(*argosy.Setup)) argosy.Service {
	return argosy.Service{Name: name, Setup: func(s *argosy.Setup) error {
		if greet != nil {
			pb.RegisterGreeterServer(s, greeter{greet: greet})
		}
		for _, f := range more {
			f(s)
		}
		return nil
	}}
}

func program(t *testing.T, services ...argosy.Service) argosy.Program {
	t.Helper()
	return argosy.Program{
		Name: "test", Engines: embedded.Engines(), Services: services, Wire: true, RunTwice: true,
		Args: []string{"--http=127.0.0.1:0", "--grpc=127.0.0.1:0", "--admin=127.0.0.1:0", "--data=" + t.TempDir()},
	}
}

func start(t *testing.T, p argosy.Program) *argosy.Fleet {
	t.Helper()
	f, err := argosy.Start(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := f.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return f
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
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

func post(t *testing.T, url, body string) (int, string) {
	t.Helper()
	resp, err := http.Post(url, "application/json", strings.NewReader(body))
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

func TestAServiceIsServedOverRESTAndGRPC(t *testing.T) {
	f := start(t, program(t, serving("greeter", hello)))
	if code, body := post(t, "http://"+f.Addrs().HTTP+"/v1/greetings", `{"name":"Ada"}`); code != 200 || !strings.Contains(body, "Hello, Ada") {
		t.Errorf("REST: %d %s", code, body)
	}
	conn, err := grpc.NewClient(f.Addrs().GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	res, err := pb.NewGreeterClient(conn).Greet(t.Context(), &pb.GreetRequest{Name: "Bob"})
	if err != nil || res.Text != "Hello, Bob" {
		t.Errorf("gRPC: %v %v", res, err)
	}
	for _, path := range []string{"/livez", "/readyz", "/metrics"} {
		if code, body := get(t, "http://"+f.Addrs().Admin+path); code != 200 {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if code, _ := get(t, "http://"+f.Addrs().Admin+"/debug/pprof/"); code != 404 {
		t.Errorf("profiles without --dev: %d", code)
	}
}

func TestAServiceCallsAnotherInTheProcess(t *testing.T) {
	var client pb.GreeterClient
	caller := serving("caller", nil, func(s *argosy.Setup) {
		client = argosy.Client(s, pb.NewGreeterClient)
		if _, err := client.Greet(context.Background(), &pb.GreetRequest{}); err == nil {
			t.Error("a client works in setup")
		}
	})
	start(t, program(t, caller, serving("greeter", hello)))
	res, err := client.Greet(t.Context(), &pb.GreetRequest{Name: "Ada"})
	if err != nil || res.Text != "Hello, Ada" {
		t.Errorf("%v %v", res, err)
	}
}

func TestAServiceCallsAnotherInAnotherProcess(t *testing.T) {
	var client pb.GreeterClient
	callers := serving("caller", nil, func(s *argosy.Setup) { client = argosy.Client(s, pb.NewGreeterClient) })
	here := program(t, serving("greeter", hello), callers)
	key := filepath.Join(t.TempDir(), "signer.key")
	here.Args = append(here.Args, "--only=greeter", "--auth-key="+key)
	far := start(t, here)
	there := program(t, serving("greeter", hello), callers)
	there.Args = append(there.Args, "--only=caller", "--auth-key="+key, "--peers=greeter="+far.Addrs().GRPC)
	start(t, there)
	res, err := client.Greet(t.Context(), &pb.GreetRequest{Name: "Ada"})
	if err != nil || res.Text != "Hello, Ada" {
		t.Errorf("%v %v", res, err)
	}
}

func TestWhatIsMissingFailsTheStartByName(t *testing.T) {
	calls := serving("caller", nil, func(s *argosy.Setup) { argosy.Client(s, pb.NewGreeterClient) })
	for name, c := range map[string]struct {
		services []argosy.Service
		args     []string
		want     string
	}{
		"a contract that nobody serves":      {[]argosy.Service{calls}, nil, "service caller calls argosy.guide.greeter.v1.Greeter, which no service of this program serves"},
		"a service that --only left out":     {[]argosy.Service{calls, serving("greeter", hello)}, []string{"--only=caller"}, "--peers greeter=host:port"},
		"a service that does not exist":      {[]argosy.Service{serving("greeter", hello)}, []string{"--only=gretter"}, `there is no service "gretter"; there are: greeter`},
		"two services of one name":           {[]argosy.Service{serving("a", nil), serving("a", nil)}, nil, "declared twice"},
		"two services that serve a contract": {[]argosy.Service{serving("a", hello), serving("b", hello)}, nil, "is served by a and by b"},
		"a bad name":                         {[]argosy.Service{serving("Not Good", nil)}, nil, "lower case letters"},
		"no setup":                           {[]argosy.Service{{Name: "a"}}, nil, "no Setup function"},
		"a setup that fails":                 {[]argosy.Service{{Name: "a", Setup: func(*argosy.Setup) error { return errors.New("out of luck") }}}, nil, "service a: out of luck"},
		"an unknown flag":                    {nil, []string{"--htp=:1"}, "did you mean http?"},
		"a broken address":                   {nil, []string{"--grpc=nonsense:99999"}, "--grpc nonsense:99999"},
		"a store without adapter":            {[]argosy.Service{serving("a", nil, func(s *argosy.Setup) { s.DB(nil) })}, []string{"--store=oracle:"}, `no adapter for the scheme "oracle"; it has: sqlite`},
		"a start hook that fails":            {[]argosy.Service{serving("a", nil, func(s *argosy.Setup) { s.OnStart("warm up", func(context.Context) error { return errors.New("cold") }) })}, nil, "service a: warm up: cold"},
		"a bad pattern":                      {[]argosy.Service{serving("a", nil, func(s *argosy.Setup) { s.Handle("GET {", http.NotFoundHandler()) })}, nil, "service a: handle"},
		"a bad log level":                    {nil, []string{"--log-level=loud"}, "loud"},
	} {
		t.Run(name, func(t *testing.T) {
			p := program(t, c.services...)
			p.Args = append(p.Args, c.args...)
			f, err := argosy.Start(t.Context(), p)
			if err == nil {
				t.Fatal("it started", f.Stop(t.Context()))
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant it to say %q", err, c.want)
			}
		})
	}
}

func TestAnAddressInUseIsNamedWithWhatToDo(t *testing.T) {
	f := start(t, program(t, serving("greeter", hello)))
	p := program(t, serving("greeter", hello))
	p.Args = append(p.Args, "--http="+f.Addrs().HTTP)
	_, err := argosy.Start(t.Context(), p)
	if err == nil || !strings.Contains(err.Error(), "is in use") || !strings.Contains(err.Error(), "--http") {
		t.Errorf("got %v", err)
	}
}

func TestTheAddressFileIsCompleteOnceItIsThere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "addrs.json")
	p := program(t, serving("greeter", hello))
	p.Args = append(p.Args, "--addr-file="+file)
	f := start(t, p)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got argosy.Addrs
	if err := json.Unmarshal(b, &got); err != nil || got != f.Addrs() {
		t.Errorf("%v: %s", err, b)
	}
}

func TestAMountedHandlerIsServedAndAPanicInItIsAnswered(t *testing.T) {
	p := program(t, serving("a", hello, func(s *argosy.Setup) {
		s.Handle("GET /page", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "a page") }))
		s.Handle("GET /panic", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("secret") }))
	}))
	f := start(t, p)
	if code, body := get(t, "http://"+f.Addrs().HTTP+"/page"); code != 200 || body != "a page" {
		t.Errorf("%d %s", code, body)
	}
	if code, body := get(t, "http://"+f.Addrs().HTTP+"/panic"); code != 500 || strings.Contains(body, "secret") {
		t.Errorf("%d %s", code, body)
	}
	if code, body := get(t, "http://"+f.Addrs().HTTP+"/nothing"); code != 404 {
		t.Errorf("%d %s", code, body)
	}
}

func TestAMountedHandlerMayAskWhoCalls(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	who := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, _ := auth.From(r.Context())
		_, _ = io.WriteString(w, p.Subject)
	})
	p := program(t, serving("a", hello, func(s *argosy.Setup) {
		s.Handle("GET /open", who)
		s.Handle("GET /mine", who, service.SignedIn())
		s.Handle("GET /desk", who, service.Roles("clerk"))
	}))
	p.Args = append(p.Args, "--auth-key="+key)
	f := start(t, p)
	signer, err := auth.OpenSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	token := func(role string) string {
		token, _, err := signer.Sign(auth.Principal{Subject: "ada", Roles: []string{role}}, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return "Bearer " + token
	}
	tests := map[string]struct {
		path, authorization string
		code                int
		body                string
	}{
		"everybody":                    {"/open", "", 200, ""},
		"a token of the handler's own": {"/open", "Signature abc", 200, ""},
		"nobody":                       {"/mine", "", 401, "UNAUTHENTICATED"},
		"another scheme":               {"/mine", "Basic YTpi", 401, "INVALID_AUTHORIZATION"},
		"a token that nobody gave out": {"/mine", "Bearer abc", 401, "TOKEN_INVALID"},
		"somebody":                     {"/mine", token("reader"), 200, "ada"},
		"somebody without the role":    {"/desk", token("reader"), 403, "ROLE_MISSING"},
		"somebody who holds the role":  {"/desk", token("clerk"), 200, "ada"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+f.Addrs().HTTP+tt.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if tt.authorization != "" {
				req.Header.Set("Authorization", tt.authorization)
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != tt.code || !strings.Contains(string(body), tt.body) {
				t.Errorf("%d %s (%v)", res.StatusCode, body, err)
			}
		})
	}
}

func TestARequestUnderWayIsAnsweredInADrain(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	f := start(t, program(t, serving("greeter", func(ctx context.Context, name string) (string, error) {
		close(entered)
		<-leave
		return hello(ctx, name)
	})))
	var code int
	var done sync.WaitGroup
	done.Go(func() { code, _ = post(t, "http://"+f.Addrs().HTTP+"/v1/greetings", `{"name":"Ada"}`) })
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- f.Stop(context.Background()) }()
	close(leave)
	done.Wait()
	if err := <-stopped; err != nil || code != 200 {
		t.Errorf("drain: %v; the request got %d", err, code)
	}
}

func TestADrainThatTakesTooLongIsBrokenOff(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	defer close(leave)
	p := program(t, serving("greeter", func(ctx context.Context, name string) (string, error) {
		close(entered)
		<-leave // deaf to its context
		return hello(ctx, name)
	}))
	f, err := argosy.Start(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	go http.Post("http://"+f.Addrs().HTTP+"/v1/greetings", "application/json", strings.NewReader(`{"name":"Ada"}`)) //nolint:errcheck // it is broken off
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := f.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestAWorkerThatFailsIsRunAgain(t *testing.T) {
	again := make(chan struct{})
	runs := 0
	start(t, program(t, serving("a", nil, func(s *argosy.Setup) {
		s.Go("restless", func(ctx context.Context) error {
			if runs++; runs == 1 {
				panic("the first time")
			}
			if runs == 2 {
				return errors.New("the second time")
			}
			close(again)
			<-ctx.Done()
			return nil
		})
	})))
	<-again
}

func TestRunPrintsHelpVersionAndUsageErrors(t *testing.T) {
	for name, c := range map[string]struct {
		args     []string
		code     int
		out, err string
	}{
		"help":     {[]string{"--help"}, 0, "ARGOSY_ADDR_FILE", ""},
		"version":  {[]string{"--version"}, 0, "test ", ""},
		"bad flag": {[]string{"--nonsense"}, 2, "", "unknown flag --nonsense"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			p := program(t, serving("greeter", hello))
			p.Args, p.Stdout, p.Stderr = c.args, &out, &errs
			if code := argosy.Run(t.Context(), p); code != c.code {
				t.Errorf("exit code %d", code)
			}
			if !strings.Contains(out.String(), c.out) || !strings.Contains(errs.String(), c.err) {
				t.Errorf("stdout %q\nstderr %q", out.String(), errs.String())
			}
		})
	}
}

func TestRunDrainsWhenItsContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var out bytes.Buffer
	p := program(t, serving("greeter", hello, func(s *argosy.Setup) {
		s.Go("waits for readiness", func(ctx context.Context) error {
			cancel()
			<-ctx.Done()
			return nil
		})
	}))
	p.Stdout = &out
	if code := argosy.Run(ctx, p); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestAConnectionThatWasNeverUsedDoesNotHoldUpADrain(t *testing.T) {
	f, err := argosy.Start(t.Context(), program(t, serving("greeter", hello)))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", f.Addrs().HTTP)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second) // net/http alone would take five
	defer cancel()
	if err := f.Stop(ctx); err != nil {
		t.Error(err)
	}
}
