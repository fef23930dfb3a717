package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/auth"
	inventorypb "github.com/argosy-go/argosy/shop/gen/inventory/v1"
	orderpb "github.com/argosy-go/argosy/shop/gen/order/v1"
)

// clients are what the service caller calls.
type clients struct {
	inventory inventorypb.InventoryClient
	echo      testpb.TestServiceClient
}

// program is three services that are called and one that calls. Each process
// runs some of them, as in a fleet.
func program(o options, c *clients, args ...string) argosy.Program {
	serve := func(name string, register func(*argosy.Setup)) argosy.Service {
		return argosy.Service{Name: name, Setup: func(s *argosy.Setup) error {
			register(s)
			return nil
		}}
	}
	if f := o.files(); o.secure() {
		args = append(args, "--tls-cert", f.Cert, "--tls-key", f.Key, "--tls-ca", f.CA)
	}
	return argosy.Program{
		Name: "bench", Stderr: os.Stderr, Env: os.LookupEnv,
		Services: []argosy.Service{
			serve("inventory", func(s *argosy.Setup) { inventorypb.RegisterInventoryServer(s, inventory{}) }),
			serve("echo", func(s *argosy.Setup) { testpb.RegisterTestServiceServer(s, echo{}) }),
			serve("order", func(s *argosy.Setup) { orderpb.RegisterOrdersServer(s, orders{}) }),
			serve("caller", func(s *argosy.Setup) {
				c.inventory = argosy.Client(s, inventorypb.NewInventoryClient)
				c.echo = argosy.Client(s, testpb.NewTestServiceClient)
			}),
		},
		Args: append(args, "--admin", "127.0.0.1:0",
			"--data", filepath.Join(o.dir, o.role), "--auth-key", keyFile(o)),
	}
}

func keyFile(o options) string { return filepath.Join(o.dir, "signer.key") }

// serveArgosy serves with a program of Argosy: gRPC, and REST on the other address.
func serveArgosy(ctx context.Context, o options, in io.Reader, out io.Writer) error {
	grpcAddr, err := freeAddr()
	if err != nil {
		return err
	}
	httpAddr, err := freeAddr()
	if err != nil {
		return err
	}
	p := program(o, &clients{}, "--only", strings.Join(served, ","), "--grpc", grpcAddr, "--http", httpAddr)
	return whileUp(ctx, p, func() error { return obey(o, in, out, answer{Addr: grpcAddr + "," + httpAddr}, tell) })
}

// loadArgosy calls from a program of Argosy.
func loadArgosy(ctx context.Context, o options, in io.Reader, out io.Writer) error {
	grpcAddr, httpAddr := addrs(o.target)
	var c clients
	p := program(o, &c, "--only", strings.Join(calling, ","), "--peers", "inventory="+grpcAddr+",echo="+grpcAddr, "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0")
	return whileUp(ctx, p, func() error {
		w := grpcWorks(c.inventory, c.echo, func(ctx context.Context) (context.Context, context.CancelFunc) { return ctx, func() {} })
		rest, err := restWorks(o, httpAddr)
		if err != nil {
			return err
		}
		maps.Copy(w, rest)
		return obey(o, in, out, answer{}, w.load(ctx))
	})
}

// whileUp runs a program as argosy.Main does, and do once it is ready.
func whileUp(ctx context.Context, p argosy.Program, do func() error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ready := make(chan struct{})
	p.Stdout = &banner{ready: ready}
	code := make(chan int, 1)
	go func() { code <- argosy.Run(ctx, p) }()
	select {
	case <-ready:
	case c := <-code:
		return fmt.Errorf("the program ended before it was ready, with code %d", c)
	}
	err := do()
	cancel()
	if c := <-code; c != 0 {
		err = errors.Join(err, fmt.Errorf("the program ended with code %d", c))
	}
	return err
}

// banner is closed by the banner that a program prints once it is ready.
type banner struct {
	once  sync.Once
	ready chan struct{}
}

func (b *banner) Write(text []byte) (int, error) {
	b.once.Do(func() { close(b.ready) })
	return len(text), nil
}

// freeAddr returns an address on which nobody listens at the moment.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// serviceToken returns a token as a service of a fleet has it.
func serviceToken(o options) (string, error) {
	return token(o, auth.Principal{Subject: "service/caller", Service: "caller", Roles: []string{auth.RoleService}})
}

// customerToken returns a token as a customer has it who has signed in.
func customerToken(o options) (string, error) {
	return token(o, auth.Principal{Subject: "customer-7", Roles: []string{"customer"}})
}

func token(o options, p auth.Principal) (string, error) {
	signer, err := auth.OpenSigner(keyFile(o))
	if err != nil {
		return "", err
	}
	t, _, err := signer.Sign(p, time.Hour)
	return t, err
}

// traceparent returns the header of a new trace that nobody records.
func traceparent() string {
	var id [24]byte
	for i := range id {
		id[i] = byte(rand.Uint32())
	}
	return "00-" + hex.EncodeToString(id[:16]) + "-" + hex.EncodeToString(id[16:]) + "-00"
}
