package rpc_test

import (
	"context"
	"errors"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/argosy-go/argosy/rpc"
)

// reveals answers with the authorization that a call brought.
type reveals struct {
	pb.UnimplementedTestServiceServer
}

func (reveals) UnaryCall(ctx context.Context, _ *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	if given := md.Get("authorization"); len(given) == 1 {
		return &pb.SimpleResponse{Username: given[0]}, nil
	}
	return nil, status.Error(codes.Unauthenticated, "not one token")
}

func TestACallCarriesTheTokenOfItsTime(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	pb.RegisterTestServiceServer(s, reveals{})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	defer func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	token, broken := "first", error(nil)
	conn, closer, err := rpc.Dial(l.Addr().String(), rpc.DialOptions{Token: func(context.Context) (string, error) { return token, broken }})
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	c := pb.NewTestServiceClient(conn)
	for _, token = range []string{"first", "first", "second", "first"} {
		got, err := c.UnaryCall(t.Context(), &pb.SimpleRequest{})
		if err != nil || got.GetUsername() != "Bearer "+token {
			t.Errorf("%q, %v; want %q", got.GetUsername(), err, "Bearer "+token)
		}
	}
	broken = errors.New("no key")
	if _, err := c.UnaryCall(t.Context(), &pb.SimpleRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("a call without a token to be had: %v", err)
	}
}
