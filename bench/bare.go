package main

import (
	"context"
	"io"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"

	"github.com/argosy-go/argosy/auth"
	inventorypb "github.com/argosy-go/argosy/shop/gen/inventory/v1"
)

// serveBare serves with grpc-go as it comes.
func serveBare(_ context.Context, o options, in io.Reader, out io.Writer) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	secured, err := secured(o)
	if err != nil {
		return err
	}
	s := grpc.NewServer(grpc.Creds(secured))
	inventorypb.RegisterInventoryServer(s, inventory{})
	testpb.RegisterTestServiceServer(s, echo{})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	err = obey(o, in, out, answer{Addr: l.Addr().String()}, tell)
	s.Stop()
	if err == nil {
		err = <-served
	}
	return err
}

// loadBare calls with grpc-go as it comes.
func loadBare(ctx context.Context, o options, in io.Reader, out io.Writer) error {
	return loadGRPC(ctx, o, in, out, func(ctx context.Context) (context.Context, context.CancelFunc) { return ctx, func() {} })
}

// loadBareWithHeaders is loadBare with the deadline and the metadata that a
// call of Argosy has, so that what they cost on the wire is known.
func loadBareWithHeaders(ctx context.Context, o options, in io.Reader, out io.Writer) error {
	token, err := serviceToken(o)
	if err != nil {
		return err
	}
	bearer := "Bearer " + token
	return loadGRPC(ctx, o, in, out, func(ctx context.Context) (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		return metadata.AppendToOutgoingContext(ctx, "traceparent", traceparent(), "authorization", bearer), cancel
	})
}

// secured returns how the processes of a bare side talk: in the clear, or with
// the same TLS as those of Argosy.
func secured(o options) (credentials.TransportCredentials, error) {
	if !o.secure() {
		return insecure.NewCredentials(), nil
	}
	f := o.files()
	t, err := auth.OpenTLS(auth.TLSConfig{Cert: f.Cert, Key: f.Key, CA: f.CA})
	if err != nil {
		return nil, err
	}
	if o.role == "serve" {
		return credentials.NewTLS(t.Server()), nil
	}
	return credentials.NewTLS(t.Client(served[0])), nil
}

func loadGRPC(ctx context.Context, o options, in io.Reader, out io.Writer, call func(context.Context) (context.Context, context.CancelFunc)) error {
	secured, err := secured(o)
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient(o.target, grpc.WithTransportCredentials(secured))
	if err != nil {
		return err
	}
	defer conn.Close()
	w := grpcWorks(inventorypb.NewInventoryClient(conn), testpb.NewTestServiceClient(conn), call)
	return obey(o, in, out, answer{}, w.load(ctx))
}

// grpcWorks are the works of all gRPC clients. call makes the context of a call.
func grpcWorks(inventory inventorypb.InventoryClient, echo testpb.TestServiceClient, call func(context.Context) (context.Context, context.CancelFunc)) works {
	return works{
		"unary": func(ctx context.Context) (caller, error) {
			return unary(func() error {
				ctx, cancel := call(ctx)
				defer cancel()
				_, err := inventory.Reserve(ctx, reserve)
				return err
			}), nil
		},
		"stream": func(ctx context.Context) (caller, error) {
			s, err := echo.FullDuplexCall(ctx)
			return pingPong{s}, err
		},
	}
}

type unary func() error

func (u unary) call() error { return u() }
func (unary) close() error  { return nil }

type pingPong struct {
	testpb.TestService_FullDuplexCallClient
}

func (p pingPong) call() error {
	if err := p.Send(ping); err != nil {
		return err
	}
	_, err := p.Recv()
	return err
}

func (p pingPong) close() error {
	if err := p.CloseSend(); err != nil {
		return err
	}
	if _, err := p.Recv(); err != io.EOF {
		return err
	}
	return nil
}
