package rpc_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/rpc"
)

func TestAnErrorOfTheNetworkTellsNoAddress(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil { // nobody listens there
		t.Fatal(err)
	}
	conn, closer, err := rpc.Dial(address, rpc.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	c := pb.NewTestServiceClient(rpc.NewClient(rpc.ClientConfig{From: "till", Contract: pb.File_grpc_testing_test_proto.Services().ByName("TestService"), Transport: conn}))
	_, unary := c.EmptyCall(t.Context(), &pb.Empty{})
	stream, streamed := c.FullDuplexCall(t.Context())
	if streamed == nil {
		_, streamed = stream.Recv()
	}
	for name, err := range map[string]error{"call": unary, "stream": streamed} {
		e := fault.From(err)
		if e == nil || e.Code != codes.Unavailable || e.Reason != rpc.ReasonUnreachable || strings.Contains(e.Message, "127.0.0.1") {
			t.Errorf("%s: %v", name, err)
		}
		if cause := errors.Unwrap(err); cause == nil || !strings.Contains(cause.Error(), "connection refused") {
			t.Errorf("%s: the cause is %v", name, cause)
		}
	}
}

func TestWhatAServerSaysOfItsAbsenceIsKept(t *testing.T) {
	s := (&scripted{unary: func(context.Context) error { return status.Error(codes.Unavailable, "closed for lunch") }}).server(t, rpc.ServerConfig{Authenticator: tokens{}})
	conn, _ := served(t, s)
	c := pb.NewTestServiceClient(rpc.NewClient(rpc.ClientConfig{From: "till", Contract: pb.File_grpc_testing_test_proto.Services().ByName("TestService"), Transport: conn}))
	if _, err := c.EmptyCall(outgoing(t.Context()), &pb.Empty{}); fault.From(err).Message != "closed for lunch" {
		t.Errorf("got %v", err)
	}
}
