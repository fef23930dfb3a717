package handlers

import (
	"context"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/auth"
	pb "github.com/argosy-go/argosy/docs/guide/greeter/greeterpb"
	"github.com/argosy-go/argosy/engine/embedded"
)

// start runs the services until the test ends, and returns what signs tokens.
func start(t *testing.T, services ...argosy.Service) (*argosy.Fleet, *auth.Signer) {
	t.Helper()
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	f, err := argosy.Start(t.Context(), argosy.Program{
		Name: "test", Engines: embedded.Engines(), Services: services, Stderr: io.Discard,
		Args: []string{"--http=127.0.0.1:0", "--grpc=127.0.0.1:0", "--admin=127.0.0.1:0", "--data=" + dir, "--auth-key=" + key, "--max-body=1000"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	signer, err := auth.OpenSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return f, signer
}

func TestHandlersOfOtherFrameworksMoveInAsTheyAre(t *testing.T) {
	f, signer := start(t, Gin, Echo, Chi, Plain)
	token := func(role string) string {
		token, _, err := signer.Sign(auth.Principal{Subject: "ada", Roles: []string{role}}, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	tests := map[string]struct {
		method, path, body, token string
		code                      int
		want                      string
	}{
		"gin":                      {"GET", "/gin/hello/ada", "", "", 200, `{"hello":"ada"}`},
		"gin has its own 404":      {"GET", "/gin/nothing", "", "", 404, "404 page not found"},
		"gin within the limit":     {"POST", "/gin/echo", "abc", "", 200, "abc"},
		"gin over the limit":       {"POST", "/gin/echo", strings.Repeat("a", 1001), "", 413, "too large"},
		"echo, signed in":          {"GET", "/echo/me", "", token("reader"), 200, `{"you":"ada"}`},
		"echo, not signed in":      {"GET", "/echo/me", "", "", 401, "UNAUTHENTICATED"},
		"chi, for a clerk":         {"GET", "/chi/desk/3", "", token("clerk"), 200, "drawer 3"},
		"chi, for somebody else":   {"GET", "/chi/desk/3", "", token("reader"), 403, "ROLE_MISSING"},
		"net/http":                 {"GET", "/plain/ada", "", "", 200, "hello, ada"},
		"net/http, another method": {"POST", "/plain/ada", "", "", 405, "METHOD"},
		"what nobody has mounted":  {"GET", "/nothing", "", "", 404, "NOT_FOUND"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), tt.method, "http://"+f.Addrs().HTTP+tt.path, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			if tt.token != "" {
				req.Header.Set("Authorization", "Bearer "+tt.token)
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != tt.code || !strings.Contains(string(body), tt.want) {
				t.Errorf("%d %s (%v), want %d %s", res.StatusCode, body, err, tt.code, tt.want)
			}
		})
	}
}

func TestGRPCServersMoveInAsTheyAre(t *testing.T) {
	for name, service := range map[string]argosy.Service{"grpc-go": Moved, "Go kit": MovedKit} {
		t.Run(name, func(t *testing.T) {
			f, _ := start(t, service)
			conn, err := grpc.NewClient(f.Addrs().GRPC, grpc.WithTransportCredentials(insecure.NewCredentials())) // a client that knows nothing of Argosy
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			reply, err := pb.NewGreeterClient(conn).Greet(t.Context(), &pb.GreetRequest{Name: "Ada"})
			if err != nil || reply.Text != "Hello, Ada" {
				t.Errorf("over gRPC: %v, %v", reply, err)
			}
			res, err := http.Post("http://"+f.Addrs().HTTP+"/v1/greetings", "application/json", strings.NewReader(`{"name":"Ada"}`))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if err != nil || !strings.Contains(string(body), "Hello, Ada") {
				t.Errorf("over REST: %s, %v", body, err)
			}
		})
	}
}
