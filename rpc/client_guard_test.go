package rpc_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/guard"
	"github.com/argosy-go/argosy/rpc"
	"github.com/argosy-go/argosy/service"
)

const unaryCall = "/grpc.testing.TestService/UnaryCall"

// readOnly is the contract of the tests with UnaryCall declared NO_SIDE_EFFECTS.
func readOnly(t *testing.T) protoreflect.ServiceDescriptor {
	t.Helper()
	file := protodesc.ToFileDescriptorProto(pb.File_grpc_testing_test_proto)
	for _, m := range file.Service[0].Method {
		if m.GetName() == "UnaryCall" {
			m.Options = &descriptorpb.MethodOptions{IdempotencyLevel: descriptorpb.MethodOptions_NO_SIDE_EFFECTS.Enum()}
		}
	}
	d, err := protodesc.NewFile(file, protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	return d.Services().ByName("TestService")
}

// lastKnown is a fallback that answers with a body.
func lastKnown(body string) rpc.ClientOption {
	return rpc.Fallback(unaryCall, func(_ context.Context, _ *pb.SimpleRequest, cause error) (*pb.SimpleResponse, error) {
		if fault.From(cause).Reason == "HOPELESS" {
			return nil, cause
		}
		return &pb.SimpleResponse{Payload: &pb.Payload{Body: []byte(body)}}, nil
	})
}

// failing is a transport that fails calls as it is told.
type failing struct {
	grpc.ClientConnInterface
	err error
}

func (f *failing) Invoke(context.Context, string, any, any, ...grpc.CallOption) error { return f.err }

func client(t *testing.T, transport grpc.ClientConnInterface, c guard.Config, options ...rpc.ClientOption) (pb.TestServiceClient, *rpc.Client) {
	t.Helper()
	conn := rpc.NewClient(rpc.ClientConfig{From: "order", Contract: readOnly(t), Transport: transport, Guard: c, Options: options})
	return pb.NewTestServiceClient(conn), conn
}

func TestAFallbackAnswersAndIsMarked(t *testing.T) {
	away := fault.New(codes.Unavailable, "AWAY", "away")
	for name, tt := range map[string]struct {
		err  error
		want bool
	}{
		"when the other side is away":               {away, true},
		"when it broke":                             {fault.New(codes.Internal, "INTERNAL", "internal error"), true},
		"when it is late":                           {fault.New(codes.DeadlineExceeded, "LATE", "late"), true},
		"not for its own answer":                    {fault.New(codes.NotFound, "NOT_FOUND", "no such thing"), false},
		"not when the caller took the call back":    {context.Canceled, false},
		"not when the fallback knows none either":   {fault.New(codes.Unavailable, "HOPELESS", "away"), false},
		"not when there was nothing to stand for":   {nil, false},
		"not for what the caller may not ask for":   {fault.New(codes.PermissionDenied, "NO", "no"), false},
		"when a limit does not let the call happen": {fault.New(codes.ResourceExhausted, "QUOTA", "quota"), true},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := client(t, &failing{err: tt.err}, guard.Config{MaxAttempts: 1}, lastKnown("yesterday's"))
			ctx, degraded := rpc.WatchDegraded(t.Context())
			var trailer metadata.MD
			out, err := c.UnaryCall(ctx, ask("x"), grpc.Trailer(&trailer))
			if (err == nil) != (tt.want || tt.err == nil) || tt.want && string(out.GetPayload().GetBody()) != "yesterday's" {
				t.Errorf("%v, %v", out, err)
			}
			if err != nil && fault.From(err).Reason != fault.From(tt.err).Reason {
				t.Errorf("failed with %v, want the cause %v", err, tt.err)
			}
			marked := slices.Equal(trailer.Get(rpc.DegradedHeader), []string{unaryCall})
			watched := slices.Equal(degraded.Methods(), []string{unaryCall})
			if marked != tt.want || watched != tt.want {
				t.Errorf("marked %v in the trailer, %v for who watches; want %v", marked, watched, tt.want)
			}
		})
	}
}

func TestADegradedAnswerMarksTheReplyThatWasMadeOfIt(t *testing.T) {
	for name, watched := range map[string]bool{"as it is": false, "when the service watches too": true} {
		t.Run(name, func(t *testing.T) {
			back, _ := client(t, &failing{err: fault.New(codes.Unavailable, "AWAY", "away")}, guard.Config{MaxAttempts: 1}, lastKnown("old"))
			s := (&scripted{unary: func(ctx context.Context) error {
				if watched {
					ctx, _ = rpc.WatchDegraded(ctx)
				}
				_, err := back.UnaryCall(ctx, ask("x"))
				return err
			}}).server(t, rpc.ServerConfig{})
			front, _ := client(t, s.Conn(rpc.ConnOptions{}), guard.Config{})
			ctx, degraded := rpc.WatchDegraded(outgoing(t.Context()))
			var trailer metadata.MD
			if _, err := front.EmptyCall(ctx, &pb.Empty{}, grpc.Trailer(&trailer)); err != nil {
				t.Fatal(err)
			}
			if got := degraded.Methods(); !slices.Equal(got, []string{unaryCall}) || len(trailer.Get(rpc.DegradedHeader)) != 1 {
				t.Errorf("the watcher saw %v, the trailer was %v", got, trailer)
			}
		})
	}
}

func TestAFallbackMustFitTheContract(t *testing.T) {
	empty := func(context.Context, *pb.Empty, error) (*pb.Empty, error) { return nil, nil }
	for name, options := range map[string][]rpc.ClientOption{
		"a method that is not there":             {rpc.Fallback("/grpc.testing.TestService/Nothing", empty)},
		"other messages":                         {rpc.Fallback(unaryCall, empty)},
		"a stream":                               {rpc.Fallback("/grpc.testing.TestService/FullDuplexCall", empty)},
		"policies of a method that is not there": {rpc.Policies(guard.Config{Methods: map[string]guard.MethodConfig{"Nothing": {}}})},
		"two for one method":                     {lastKnown("a"), lastKnown("b")},
	} {
		s := service.New("order", service.Options{})
		rpc.Declare(s, readOnly(t), options...)
		if s.Err() == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	s := service.New("order", service.Options{})
	if l := rpc.Declare(s, readOnly(t), lastKnown("a")); s.Err() != nil || len(l.Options()) != 1 {
		t.Errorf("a fallback that fits: %v", s.Err())
	}
}

// slowFirst is a transport whose first attempt hangs.
type slowFirst struct {
	grpc.ClientConnInterface
	attempts atomic.Int32
}

func (s *slowFirst) Invoke(ctx context.Context, _ string, _, out any, _ ...grpc.CallOption) error {
	if s.attempts.Add(1) == 1 {
		out.(*pb.SimpleResponse).Username = "loser"
		<-ctx.Done()
		return ctx.Err()
	}
	proto.Merge(out.(proto.Message), &pb.SimpleResponse{Payload: &pb.Payload{Body: []byte("winner")}})
	return nil
}

func TestAHedgedCallHasOneReply(t *testing.T) {
	s := &slowFirst{}
	c, _ := client(t, s, guard.Config{Hedge: guard.HedgeConfig{On: true, MinDelay: time.Millisecond}})
	out, err := c.UnaryCall(t.Context(), ask("x"))
	if err != nil || string(out.GetPayload().GetBody()) != "winner" || out.GetUsername() != "" || s.attempts.Load() != 2 {
		t.Errorf("%v, %v after %d attempts", out, err, s.attempts.Load())
	}
	s = &slowFirst{} // a trailer is of one attempt
	c, _ = client(t, s, guard.Config{Hedge: guard.HedgeConfig{On: true, MinDelay: time.Millisecond}})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.UnaryCall(ctx, ask("x"), grpc.Trailer(&metadata.MD{})); err == nil || s.attempts.Load() != 1 {
		t.Errorf("%v after %d attempts", err, s.attempts.Load())
	}
}

func TestStreamsAreUnderWayUntilTheyEnd(t *testing.T) {
	conns, _ := transports(t)
	for _, name := range []string{"process", "wire", "network"} {
		t.Run(name, func(t *testing.T) {
			c, conn := client(t, conns[name], guard.Config{Methods: map[string]guard.MethodConfig{"FullDuplexCall": {MaxInFlight: 1}}})
			ctx, cancel := context.WithCancel(outgoing(t.Context()))
			defer cancel()
			first, err := c.FullDuplexCall(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.FullDuplexCall(ctx); fault.From(err).Reason != "BULKHEAD_FULL" {
				t.Errorf("a second stream: %v", err)
			}
			if err := first.CloseSend(); err != nil {
				t.Fatal(err)
			}
			for err == nil {
				_, err = first.Recv()
			}
			for _, m := range conn.Guards().Methods {
				if m.InFlight != 0 {
					t.Errorf("%s: %d under way after the end", m.Method, m.InFlight)
				}
			}
			if _, err := c.FullDuplexCall(ctx); err != nil {
				t.Errorf("after the first: %v", err)
			}
		})
	}
}

func TestPoliciesTakeThePlaceOfTheDefaults(t *testing.T) {
	_, conn := client(t, &failing{}, guard.Config{}, rpc.Policies(guard.Config{
		MaxAttempts: 5, Methods: map[string]guard.MethodConfig{"UnaryCall": {AttemptTimeout: time.Second, MaxInFlight: 9}},
	}))
	for _, m := range conn.Guards().Methods {
		if is := m.Method == unaryCall; is != (m.AttemptTimeout == time.Second) || is != (m.MaxInFlight == 9) || is != (m.MaxAttempts == 5) {
			t.Errorf("%+v", m) // only the one method may be repeated
		}
	}
}
