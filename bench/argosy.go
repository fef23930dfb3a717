package main

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
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
	return argosy.Program{
		Name: "bench", Stderr: os.Stderr,
		Services: []argosy.Service{
			serve("inventory", func(s *argosy.Setup) { inventorypb.RegisterInventoryServer(s, inventory{}) }),
			serve("echo", func(s *argosy.Setup) { testpb.RegisterTestServiceServer(s, echo{}) }),
			serve("order", func(s *argosy.Setup) { orderpb.RegisterOrdersServer(s, orders{}) }),
			serve("caller", func(s *argosy.Setup) {
				c.inventory = argosy.Client(s, inventorypb.NewInventoryClient)
				c.echo = argosy.Client(s, testpb.NewTestServiceClient)
			}),
		},
		Args: append(args, "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0",
			"--data", filepath.Join(o.dir, o.role), "--auth-key", keyFile(o)),
	}
}

func keyFile(o options) string { return filepath.Join(o.dir, "signer.key") }

// serveArgosy serves with a program of Argosy: gRPC, and REST on the other address.
func serveArgosy(ctx context.Context, o options, in io.Reader, out io.Writer) error {
	f, err := argosy.Start(ctx, program(o, &clients{}, "--only", "inventory,echo,order"))
	if err != nil {
		return err
	}
	err = obey(o, in, out, answer{Addr: f.Addrs().GRPC + "," + f.Addrs().HTTP}, tell)
	return errors.Join(err, f.Stop(context.WithoutCancel(ctx)))
}

// loadArgosy calls from a program of Argosy.
func loadArgosy(ctx context.Context, o options, in io.Reader, out io.Writer) error {
	grpcAddr, httpAddr := addrs(o.target)
	var c clients
	f, err := argosy.Start(ctx, program(o, &c, "--only", "caller", "--peers", "inventory="+grpcAddr+",echo="+grpcAddr))
	if err != nil {
		return err
	}
	w := grpcWorks(c.inventory, c.echo, func(ctx context.Context) (context.Context, context.CancelFunc) { return ctx, func() {} })
	rest, err := restWorks(o, httpAddr)
	if err != nil {
		return errors.Join(err, f.Stop(ctx))
	}
	for name, open := range rest {
		w[name] = open
	}
	err = obey(o, in, out, answer{}, w.load(ctx))
	return errors.Join(err, f.Stop(context.WithoutCancel(ctx)))
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
