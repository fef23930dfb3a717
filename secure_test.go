package argosy_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/auth"
	pb "github.com/argosy-go/argosy/docs/guide/greeter/greeterpb"
	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/rpc"
	"github.com/argosy-go/argosy/service"
)

// certificate returns the settings for the certificate of a process.
func certificate(t *testing.T, ca *auth.LocalCA, services ...string) []string {
	t.Helper()
	f, err := ca.Write(t.TempDir(), "process", services...)
	if err != nil {
		t.Fatal(err)
	}
	return []string{"--tls-cert=" + f.Cert, "--tls-key=" + f.Key, "--tls-ca=" + f.CA}
}

func localCA(t *testing.T) *auth.LocalCA {
	t.Helper()
	ca, err := auth.NewLocalCA(auth.LocalCAConfig{Fleet: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func TestProcessesWithCertificatesCallEachOther(t *testing.T) {
	var client pb.GreeterClient
	callers := serving("caller", nil, func(s *argosy.Setup) { client = argosy.Client(s, pb.NewGreeterClient) })
	ca, key := localCA(t), filepath.Join(t.TempDir(), "signer.key")
	process := func(service string, more ...string) *argosy.Fleet {
		p := program(t, serving("greeter", func(ctx context.Context, name string) (string, error) {
			by, _ := auth.From(ctx)
			return "Hello, " + name + " by " + by.Service, nil
		}), callers)
		p.Args = append(append(p.Args, "--only="+service, "--auth-key="+key), more...)
		return start(t, p)
	}
	far := process("greeter", certificate(t, ca, "greeter")...)
	peers := "--peers=greeter=" + far.Addrs().GRPC
	near := process("caller", append(certificate(t, ca, "caller"), peers, "--edge")...)
	res, err := client.Greet(t.Context(), &pb.GreetRequest{Name: "Ada"})
	if err != nil || res.Text != "Hello, Ada by caller" {
		t.Errorf("%v %v", res, err)
	}
	if code, body := post(t, "http://"+near.Addrs().HTTP+"/v1/greetings", `{"name":"Bob"}`); code != 200 || !strings.Contains(body, "Hello, Bob by ") {
		t.Errorf("by the edge: %d %s", code, body)
	}
	process("caller", append(certificate(t, localCA(t), "caller"), peers)...)
	if _, err := client.Greet(t.Context(), &pb.GreetRequest{Name: "Ada"}); fault.CodeOf(err) != codes.Unavailable {
		t.Errorf("with a certificate of another CA: %v", err)
	}
	process("caller", peers)
	if _, err := client.Greet(t.Context(), &pb.GreetRequest{Name: "Ada"}); fault.CodeOf(err) != codes.Unavailable {
		t.Errorf("without a certificate: %v", err)
	}
}

// A token of a service is worth nothing where the certificate cannot be shown,
// and least where the edge's own would prove it.
func TestATokenOfAServiceIsRefusedAtTheEdgeOfAFleetWithCertificates(t *testing.T) {
	ca, key := localCA(t), filepath.Join(t.TempDir(), "signer.key")
	private := func(s *argosy.Setup) {
		s.Handle("GET /private", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), service.SignedIn())
	}
	process := func(only string, more ...string) *argosy.Fleet {
		p := program(t, serving("greeter", hello), serving("caller", nil, private, func(s *argosy.Setup) { argosy.Client(s, pb.NewGreeterClient) }))
		p.Args = append(append(append(p.Args, "--only="+only, "--auth-key="+key), certificate(t, ca, only)...), more...)
		return start(t, p)
	}
	far := process("greeter")
	near := process("caller", "--edge", "--peers=greeter="+far.Addrs().GRPC)
	signer, err := auth.OpenSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []auth.Principal{{Subject: "ann"}, {Subject: "service/caller", Service: "caller", Roles: []string{auth.RoleService}}} {
		token, _, err := signer.Sign(p, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		for method, path := range map[string]string{"POST": "/v1/greetings", "GET": "/private"} {
			r, err := http.NewRequestWithContext(t.Context(), method, "http://"+near.Addrs().HTTP+path, strings.NewReader(`{"name":"Ada"}`))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+token)
			r.Header.Set("Content-Type", "application/json")
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if refused := strings.Contains(string(body), rpc.ReasonCallerUncertified); err != nil || refused != (p.Service != "") || !refused && resp.StatusCode != 200 {
				t.Errorf("%s %s as %s: %d %s %v", method, path, p.Subject, resp.StatusCode, body, err)
			}
		}
	}
}

func TestAServiceMayCallOnlyWhatItDeclares(t *testing.T) {
	f := start(t, program(t, serving("greeter", hello), serving("caller", nil, func(s *argosy.Setup) { argosy.Client(s, pb.NewGreeterClient) }), serving("other", nil)))
	for service, want := range map[string]string{"caller": "", "greeter": "", "other": rpc.ReasonCallerUndeclared} {
		conn := f.Conn(auth.Principal{Subject: "service/" + service, Service: service, Roles: []string{auth.RoleService}})
		_, err := pb.NewGreeterClient(conn).Greet(t.Context(), &pb.GreetRequest{Name: "Ada"})
		if want == "" && err != nil || want != "" && fault.From(err).Reason != want {
			t.Errorf("%s: %v", service, err)
		}
	}
}

func TestTLSSettingsThatMakeNoSenseFailTheStart(t *testing.T) {
	ca := localCA(t)
	files := certificate(t, ca, "greeter")
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no key":                             {files[:1], "together or not at all"},
		"in the clear, with a certificate":   {append([]string{"--insecure"}, files...), "for processes without certificates"},
		"a certificate for another service":  {certificate(t, ca, "caller"), "it needs one with spiffe://test/greeter"},
		"a file that is not there":           {[]string{"--tls-cert=a", "--tls-key=b", "--tls-ca=c"}, "no such file"},
		"a peer on another machine":          {[]string{"--only=caller", "--peers=greeter=10.0.0.7:9090"}, "--insecure"},
		"one of the peers on another":        {[]string{"--only=caller", "--peers=greeter=127.0.0.1:1|[fd00::7]:9090"}, "--insecure"},
		"a peer whose routes the edge shows": {[]string{"--only=other", "--edge", "--peers=greeter=10.0.0.7:9090"}, "--insecure"},
	} {
		t.Run(name, func(t *testing.T) {
			p := program(t, serving("greeter", hello), serving("other", nil), serving("caller", nil, func(s *argosy.Setup) { argosy.Client(s, pb.NewGreeterClient) }))
			if !strings.HasPrefix(c.args[0], "--only") {
				p.Args = append(p.Args, "--only=greeter")
			}
			p.Args = append(p.Args, c.args...)
			f, err := argosy.Start(t.Context(), p)
			if err == nil {
				_ = f.Stop(context.Background()) // the test has failed already
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	p := program(t, serving("greeter", hello), serving("caller", nil, func(s *argosy.Setup) { argosy.Client(s, pb.NewGreeterClient) }))
	p.Args = append(p.Args, "--only=caller", "--peers=greeter=10.0.0.7:9090", "--insecure")
	start(t, p)
}

func TestACertificateIsReplacedWithoutARestart(t *testing.T) {
	ca, dir := localCA(t), t.TempDir()
	f, err := ca.Write(dir, "process", "greeter")
	if err != nil {
		t.Fatal(err)
	}
	p := program(t, serving("greeter", hello))
	p.Args = append(p.Args, "--tls-cert="+f.Cert, "--tls-key="+f.Key, "--tls-ca="+f.CA)
	address := start(t, p).Addrs().GRPC
	second := localCA(t)
	if _, err := second.Write(dir, "process", "greeter"); err != nil { // the bundle holds both
		t.Fatal(err)
	}
	if err := os.WriteFile(f.CA, second.PEM(), 0o644); err != nil {
		t.Fatal(err)
	}
	other, err := second.Write(t.TempDir(), "caller", "caller")
	if err != nil {
		t.Fatal(err)
	}
	us, err := auth.OpenTLS(auth.TLSConfig{Cert: other.Cert, Key: other.Key, CA: other.CA})
	if err != nil {
		t.Fatal(err)
	}
	conn, closer, err := rpc.Dial(address, rpc.DialOptions{Credentials: rpc.ClientTLS(us, "greeter")})
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	for { // until the files have been looked at, or the test's time is up
		_, err := pb.NewGreeterClient(conn).Greet(t.Context(), &pb.GreetRequest{Name: "Ada"})
		if err == nil {
			return
		}
		if t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
}
