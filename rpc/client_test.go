package rpc_test

import (
	"context"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/protobuf/proto"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/rpc"
)

func TestContractIsFoundBehindAConstructor(t *testing.T) {
	d, err := rpc.Contract(healthpb.NewHealthClient)
	if err != nil || d.FullName() != "grpc.health.v1.Health" {
		t.Errorf("%v, %v", d, err)
	}
	if d, err := rpc.Contract(pb.NewTestServiceClient); err != nil || d.FullName() != "grpc.testing.TestService" { // its file names no Go package
		t.Errorf("%v, %v", d, err)
	}
	if _, err := rpc.Contract(func(grpc.ClientConnInterface) error { return nil }); err == nil {
		t.Error("a function that makes no client was taken for one")
	}
}

func TestAContractHasOneOwner(t *testing.T) {
	s := rpc.NewServer(rpc.ServerConfig{})
	for _, owner := range []string{"a", "b"} {
		err := s.Register(owner, &pb.TestService_ServiceDesc, &tester{})
		if (err == nil) != (owner == "a") {
			t.Errorf("%s: %v", owner, err)
		}
	}
}

func TestACallThatIsLeftLeavesTheRequestAlone(t *testing.T) {
	conns, _ := transports(t)
	c := pb.NewTestServiceClient(conns["process"])
	for range 500 { // the race detector looks on
		ctx, cancel := context.WithCancel(outgoing(t.Context()))
		in := ask("hello")
		go cancel()
		_, _ = c.UnaryCall(ctx, in)
		in.Payload.Body[0] = 'x'
		<-ctx.Done()
	}
}

// away refuses calls, certainly not done, until it has had enough.
type away struct {
	grpc.ClientConnInterface
	refusals int
	attempts int
}

func (a *away) Invoke(_ context.Context, _ string, in, out any, _ ...grpc.CallOption) error {
	a.attempts++
	if a.refusals--; a.refusals >= 0 {
		return fault.New(codes.Unavailable, "AWAY", "away").Refused()
	}
	proto.Merge(out.(proto.Message), in.(proto.Message))
	return nil
}

func TestClientSendsAgainWhatWasNotDone(t *testing.T) {
	d := pb.File_grpc_testing_test_proto.Services().ByName("TestService")
	a := &away{refusals: 2}
	c := pb.NewTestServiceClient(rpc.NewClient(rpc.ClientConfig{From: "order", Contract: d, Transport: a}))
	if _, err := c.EmptyCall(t.Context(), &pb.Empty{}); err != nil {
		t.Fatal(err)
	}
	if a.attempts != 3 {
		t.Errorf("%d attempts, want three", a.attempts)
	}
}

func TestAKeyIsUsedOnceByAMethodInAnAttempt(t *testing.T) {
	d := pb.File_grpc_testing_test_proto.Services().ByName("TestService")
	a := &away{refusals: 2} // retries of one call are one call
	c := pb.NewTestServiceClient(rpc.NewClient(rpc.ClientConfig{From: "order", Contract: d, Transport: a}))
	ctx := rpc.WithKeysOnce(rpc.WithIdempotencyKey(t.Context(), "run/step"))
	if _, err := c.EmptyCall(ctx, &pb.Empty{}); err != nil {
		t.Fatal(err)
	}
	made := a.attempts
	_, err := c.EmptyCall(ctx, &pb.Empty{})
	if f := fault.From(err); f == nil || f.Reason != "KEY_USED_TWICE" || f.NotDone || a.attempts != made {
		t.Errorf("a second call says %v, and %d were made", err, a.attempts-made)
	}
	if _, err := c.EmptyCall(rpc.WithIdempotencyKey(ctx, "run/step#2"), &pb.Empty{}); err != nil {
		t.Errorf("a call with a key of its own: %v", err)
	}
	if _, err := c.UnimplementedCall(ctx, &pb.Empty{}); err != nil {
		t.Errorf("another method with the key: %v", err)
	}
	if _, err := c.EmptyCall(rpc.WithKeysOnce(ctx), &pb.Empty{}); err != nil {
		t.Errorf("the next attempt: %v", err)
	}
}
