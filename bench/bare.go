package main

import (
	"context"
	"io"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"

	inventorypb "github.com/argosy-go/argosy/shop/gen/inventory/v1"
)

// serveBare serves with grpc-go as it comes.
func serveBare(_ context.Context, o options, in io.Reader, out io.Writer) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := grpc.NewServer()
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
		return metadata.AppendToOutgoingContext(ctx, "argosy-caller", "caller", "traceparent", traceparent(), "authorization", bearer), cancel
	})
}

func loadGRPC(ctx context.Context, o options, in io.Reader, out io.Writer, call func(context.Context) (context.Context, context.CancelFunc)) error {
	conn, err := grpc.NewClient(o.target, grpc.WithTransportCredentials(insecure.NewCredentials()))
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
