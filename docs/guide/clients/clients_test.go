package clients

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/docs/guide/notes"
	"github.com/argosy-go/argosy/engine/embedded"
)

// start runs the notes service until the test ends, with more settings, and
// returns its address for gRPC and a token of a user.
func start(t *testing.T, more ...string) (address, token string) {
	t.Helper()
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	args := []string{"--http=127.0.0.1:0", "--grpc=127.0.0.1:0", "--admin=127.0.0.1:0", "--data=" + dir, "--auth-key=" + key}
	f, err := argosy.Start(t.Context(), argosy.Program{
		Name: "test", Engines: embedded.Engines(), Services: []argosy.Service{notes.Service}, Stderr: io.Discard,
		Args: append(args, more...),
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
	token, _, err = signer.Sign(auth.Principal{Subject: "ada"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return f.Addrs().GRPC, token
}

// startSecure is start with certificates. Clients of other makers go by the
// name of the host, which the certificate has beside that of the service.
func startSecure(t *testing.T) (address, token string, client auth.TLSFiles) {
	t.Helper()
	ca, err := auth.NewLocalCA(auth.LocalCAConfig{Fleet: "test"})
	if err != nil {
		t.Fatal(err)
	}
	server, err := ca.Write(t.TempDir(), "server", "notes")
	if err != nil {
		t.Fatal(err)
	}
	if client, err = ca.Write(t.TempDir(), "client", "stranger"); err != nil {
		t.Fatal(err)
	}
	address, token = start(t, "--tls-cert="+server.Cert, "--tls-key="+server.Key, "--tls-ca="+server.CA)
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("localhost", port), token, client
}

// run runs a program in a folder, and returns what it wrote.
func run(t *testing.T, dir string, env []string, name string, args ...string) (out string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	err = cmd.Run()
	return b.String(), err
}

// must is run for what cannot fail.
func must(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	out, err := run(t, dir, env, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// grpcurl builds the tool and returns what calls it with a few words.
func grpcurl(t *testing.T) func(words ...string) (string, error) {
	t.Helper()
	tool := filepath.Join(t.TempDir(), "grpcurl")
	must(t, ".", nil, "go", "build", "-o", tool, "github.com/fullstorydev/grpcurl/cmd/grpcurl")
	return func(words ...string) (string, error) { return run(t, ".", nil, tool, words...) }
}

func TestGrpcurlCallsAService(t *testing.T) {
	t.Parallel()
	call := grpcurl(t)
	t.Run("in the clear", func(t *testing.T) { grpcurlCalls(t, call) })
	t.Run("with certificates", func(t *testing.T) { grpcurlCallsSecurely(t, call) })
}

func grpcurlCalls(t *testing.T, call func(...string) (string, error)) {
	address, token := start(t)
	bearer := "authorization: Bearer " + token
	const add, list, echo, wait = "argosy.guide.notes.v1.Notes/Add", "argosy.guide.notes.v1.Notes/List", "argosy.guide.notes.v1.Notes/Echo", "argosy.guide.notes.v1.Notes/Wait"
	for _, tt := range []struct { // in this order: they keep notes
		name  string
		words []string
		fails bool
		want  []string
	}{
		{"reflection lists the contracts", []string{address, "list"}, false, []string{"argosy.guide.notes.v1.Notes", "grpc.health.v1.Health"}},
		{"reflection describes one", []string{address, "describe", "argosy.guide.notes.v1.Notes"}, false, []string{"rpc Add", "rpc List ( .argosy.guide.notes.v1.ListRequest ) returns ( stream .argosy.guide.notes.v1.Note )"}},
		{"health is told per contract", []string{"-d", `{"service": "argosy.guide.notes.v1.Notes"}`, address, "grpc.health.v1.Health/Check"}, false, []string{`"status": "SERVING"`}},
		{"a call without a token is refused", []string{"-d", `{"text": "milk"}`, address, add}, true, []string{"Code: Unauthenticated", `"reason": "UNAUTHENTICATED"`}},
		{"a unary call in JSON, with a token", []string{"-H", bearer, "-H", "idempotency-key: k1", "-d", `{"text": "milk"}`, address, add}, false, []string{`"id": "1"`, `"text": "milk"`}},
		{"the same key is the same note", []string{"-H", bearer, "-H", "idempotency-key: k1", "-d", `{"text": "milk"}`, address, add}, false, []string{`"id": "1"`}},
		{"the same key with another text", []string{"-H", bearer, "-H", "idempotency-key: k1", "-d", `{"text": "eggs"}`, address, add}, true, []string{`"reason": "IDEMPOTENCY_KEY_REUSED"`}},
		{"another key is another note", []string{"-H", bearer, "-H", "idempotency-key: k2", "-d", `{"text": "eggs"}`, address, add}, false, []string{`"id": "2"`}},
		{"an error says which field is wrong", []string{"-H", bearer, "-d", `{}`, address, add}, true, []string{"Code: InvalidArgument", "google.rpc.BadRequest", `"field": "text"`}},
		{"the last note that there is room for", []string{"-H", bearer, "-d", `{"text": "jam"}`, address, add}, false, []string{`"id": "3"`}},
		{"an error shows its details", []string{"-H", bearer, "-d", `{"text": "tea"}`, address, add}, true, []string{"Code: FailedPrecondition", "google.rpc.ErrorInfo", `"reason": "NOTEBOOK_FULL"`, `"most": "3"`, "google.rpc.RetryInfo", `"retryDelay": "60s"`}},
		{"a server stream", []string{address, list}, false, []string{"milk", "eggs", "jam"}},
		{"a stream both ways", []string{"-d", `{"text": "one"} {"text": "two"}`, address, echo}, false, []string{"one", "two"}},
		{"a deadline", []string{"-max-time", "0.2", address, wait}, true, []string{"DeadlineExceeded"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			words := append([]string{"-plaintext", "-connect-timeout", "20"}, tt.words...)
			out, err := call(words...)
			if (err != nil) != tt.fails {
				t.Errorf("it failed: %v", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(out, want) {
					t.Errorf("there is no %q", want)
				}
			}
			if t.Failed() {
				t.Logf("grpcurl %s\n%s", strings.Join(words, " "), out)
			}
		})
	}
}

func grpcurlCallsSecurely(t *testing.T, call func(...string) (string, error)) {
	address, token, own := startSecure(t)
	words := []string{"-connect-timeout", "20", "-H", "authorization: Bearer " + token, "-d", `{"text": "milk"}`, address, "argosy.guide.notes.v1.Notes/Add"}
	out, err := call(append([]string{"-cacert", own.CA, "-cert", own.Cert, "-key", own.Key}, words...)...)
	if err != nil || !strings.Contains(out, `"id": "1"`) {
		t.Errorf("with a certificate: %v\n%s", err, out)
	}
	for name, refused := range map[string][]string{"without a certificate": {"-cacert", own.CA}, "in the clear": {"-plaintext"}} {
		words[1] = "2"
		if out, err := call(append(refused, words...)...); err == nil {
			t.Errorf("%s: %s", name, out)
		}
	}
}

// install puts the client of Node beside its dependencies, out of the tree, and
// returns the folder.
func install(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("node")); err != nil {
		t.Fatal(err)
	}
	must(t, dir, nil, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")
	return dir
}

// protos are the folders of the contract and of what it imports.
func protos(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join([]string{filepath.Join(root, "docs/guide/notes"), filepath.Join(root, "proto")}, string(os.PathListSeparator))
}

func TestNodeCallsAService(t *testing.T) {
	t.Parallel()
	dir := install(t)
	run := func(t *testing.T, address, token string, more ...string) {
		env := append(more, "NOTES_ADDRESS="+address, "NOTES_TOKEN="+token, "NOTES_PROTOS="+protos(t))
		out, err := run(t, dir, env, "node", "--test")
		if err != nil || !strings.Contains(out, "fail 0") {
			t.Errorf("%v\n%s", err, out)
		}
	}
	t.Run("in the clear", func(t *testing.T) {
		address, token := start(t)
		run(t, address, token)
	})
	t.Run("with certificates", func(t *testing.T) {
		address, token, own := startSecure(t)
		run(t, address, token, "NOTES_CA="+own.CA, "NOTES_CERT="+own.Cert, "NOTES_KEY="+own.Key)
	})
}
