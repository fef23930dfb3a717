package rpc_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"

	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/guard"
	"github.com/argosy-go/argosy/rpc"
)

// A call is accepted when its headers come. One whose request never follows
// holds a place that others need.
func TestACallWhoseRequestDoesNotComeLosesItsPlace(t *testing.T) {
	s, address := serving(t, rpc.ServerConfig{Authenticator: byName{}, MessageTime: 50 * time.Millisecond})
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	both := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true} // lets this client send headers alone
	for _, method := range []string{"EmptyCall", "StreamingOutputCall"} {
		for name, within := range map[string]time.Duration{"without a deadline": 0, "with one that is far": time.Hour} {
			t.Run(method+" "+name, func(t *testing.T) {
				ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer ann"))
				if within > 0 {
					ctx, cancel = context.WithTimeout(ctx, within)
				}
				defer cancel()
				call, err := conn.NewStream(ctx, both, "/grpc.testing.TestService/"+method)
				if err != nil {
					t.Fatal(err)
				}
				if err := call.RecvMsg(&pb.Empty{}); fault.CodeOf(err) != codes.DeadlineExceeded {
					t.Errorf("it ends with %v", err)
				}
			})
		}
	}
	if _, err := pb.NewTestServiceClient(conn).EmptyCall(outgoing(t.Context()), &pb.Empty{}); err != nil {
		t.Errorf("a call that comes whole: %v", err)
	}
	until(t, "a place is not given back", func() bool { return s.Snapshot().InFlight == 0 })
}

func TestStreamsLeaveHalfOfThePlacesToCalls(t *testing.T) {
	s, address := serving(t, rpc.ServerConfig{Authenticator: byName{}, MaxInFlight: 8})
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c, ctx := pb.NewTestServiceClient(conn), metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer ann")
	open := func() error {
		both, err := c.FullDuplexCall(ctx)
		if err != nil {
			return err
		}
		if err := both.Send(&pb.StreamingOutputCallRequest{Payload: sized(1)}); err != nil {
			return err
		}
		_, err = both.Recv()
		return err
	}
	for i := range 4 {
		if err := open(); err != nil {
			t.Fatalf("stream %d: %v", i, err)
		}
	}
	if e := fault.From(open()); e == nil || e.Reason != fault.ReasonOverloaded || !e.NotDone {
		t.Errorf("one stream more: %+v", e)
	}
	if _, err := c.EmptyCall(ctx, &pb.Empty{}); err != nil {
		t.Errorf("a call beside the streams: %v", err)
	}
	if n := s.Snapshot().InFlight; n != 4 {
		t.Errorf("%d places are taken", n)
	}
}

// Guesses of tokens are charged to the address that they come from; of IPv6, to
// the network.
func TestGuessingTokensIsNotFree(t *testing.T) {
	s, _ := serving(t, rpc.ServerConfig{Authenticator: nobody{}, Quota: guard.RateConfig{PerSecond: 0.001, Burst: 4}})
	c := pb.NewTestServiceClient(s.Conn(rpc.ConnOptions{}))
	guess := func(from string) codes.Code {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer guess", rpc.OriginHeader, from)
		_, err := c.EmptyCall(ctx, &pb.Empty{})
		return fault.CodeOf(err)
	}
	for _, from := range []string{"2001:db8::1", "2001:db8::2", "2001:db8::ffff:3", "2001:db8:0:0:ffff::4%eth0"} {
		if code := guess(from); code != codes.Unauthenticated {
			t.Errorf("from %s: %v", from, code)
		}
	}
	if code := guess("2001:db8::5"); code != codes.ResourceExhausted {
		t.Errorf("the fifth guess from one network: %v", code)
	}
	for _, from := range []string{"2001:db8:0:1::1", "10.0.0.1", "::ffff:10.0.0.2"} {
		if code := guess(from); code != codes.Unauthenticated {
			t.Errorf("from %s: %v", from, code)
		}
	}
}

// nobody believes no token.
type nobody struct{}

func (nobody) Authenticate(context.Context, string) (auth.Principal, error) {
	return auth.Principal{}, fault.New(codes.Unauthenticated, auth.ReasonTokenInvalid, "the token is not valid").Refused()
}
