package main

import (
	"context"
	"io"
	"path/filepath"
	"strings"

	"github.com/argosy-go/argosy/auth"
)

// side is one way to serve and to call.
type side struct {
	serve func(ctx context.Context, o options, in io.Reader, out io.Writer) error
	load  func(ctx context.Context, o options, in io.Reader, out io.Writer) error
}

// sides are all of them, by name.
var sides = map[string]side{
	"bare":                    {serveBare, loadBare},
	"bare+headers":            {serveBare, loadBareWithHeaders},
	"bare, TLS":               {serveBare, loadBare},
	"argosy":                  {serveArgosy, loadArgosy},
	"argosy, TLS":             {serveArgosy, loadArgosy},
	"kratos":                  {serveKratos, loadKratos},
	"net/http, encoding/json": {servePlain(plainJSON), loadPlain},
	"net/http, protojson":     {servePlain(plainProto), loadPlain},
}

// secure reports whether the processes of a side talk TLS: with certificates on
// both ends that one CA has signed.
func (o options) secure() bool { return strings.HasSuffix(o.side, ", TLS") }

// The services of the two processes of a side.
var (
	served  = []string{"inventory", "echo", "order"}
	calling = []string{"caller"}
)

// certify writes the certificates of both processes.
func certify(dir string) error {
	ca, err := auth.NewLocalCA(auth.LocalCAConfig{Fleet: "bench"})
	if err != nil {
		return err
	}
	for role, services := range map[string][]string{"serve": served, "load": calling} {
		if _, err := ca.Write(filepath.Join(dir, "tls"), role, services...); err != nil {
			return err
		}
	}
	return nil
}

// files are where certify has written the certificate of this process.
func (o options) files() auth.TLSFiles {
	file := filepath.Join(o.dir, "tls", o.role+".pem")
	return auth.TLSFiles{Cert: file, Key: file, CA: filepath.Join(o.dir, "tls", "ca.crt")}
}
