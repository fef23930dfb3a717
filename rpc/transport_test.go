package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/rpc"
)

// tester serves the test contract of grpc-go; the response type picks what
// a unary call does.
type tester struct {
	pb.UnimplementedTestServiceServer
	ended chan struct{} // receives when a blocked call has ended
}

func (s *tester) EmptyCall(ctx context.Context, in *pb.Empty) (*pb.Empty, error) { return in, nil }

func (s *tester) UnaryCall(ctx context.Context, in *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	switch do := string(in.GetPayload().GetBody()); do {
	case "panic":
		panic("secret")
	case "raw":
		return nil, errors.New("secret")
	case "fault":
		return nil, fault.New(codes.NotFound, "NO_ORDER", "no such order").WithMetadata("id", "7").WithRetryAfter(time.Second)
	case "block":
		<-ctx.Done()
		s.ended <- struct{}{}
		return nil, ctx.Err()
	case "metadata":
		md, _ := metadata.FromIncomingContext(ctx)
		_ = grpc.SetHeader(ctx, metadata.Pairs("seen", strings.Join(md.Get("sent"), ",")))
		_ = grpc.SetTrailer(ctx, metadata.Pairs("last", "trailer"))
	case "context":
		p, _ := auth.From(ctx)
		_, bounded := ctx.Deadline()
		return &pb.SimpleResponse{Username: fmt.Sprintf("%s %s %s %t %v", p.Subject, rpc.MethodName(ctx), rpc.IdempotencyKey(ctx), bounded, ctx.Value(private{}))}, nil
	}
	return &pb.SimpleResponse{Payload: in.GetPayload()}, nil
}

type private struct{}

func (s *tester) StreamingOutputCall(in *pb.StreamingOutputCallRequest, out grpc.ServerStreamingServer[pb.StreamingOutputCallResponse]) error {
	for _, p := range in.GetResponseParameters() {
		if p.GetSize() < 0 {
			return fault.New(codes.OutOfRange, "NEGATIVE", "negative size")
		}
		if err := out.Send(&pb.StreamingOutputCallResponse{Payload: &pb.Payload{Body: make([]byte, p.GetSize())}}); err != nil {
			return err
		}
	}
	return nil
}

func (s *tester) StreamingInputCall(in grpc.ClientStreamingServer[pb.StreamingInputCallRequest, pb.StreamingInputCallResponse]) error {
	var sum int32
	for {
		m, err := in.Recv()
		if err == io.EOF {
			return in.SendAndClose(&pb.StreamingInputCallResponse{AggregatedPayloadSize: sum})
		}
		if err != nil {
			return err
		}
		sum += int32(len(m.GetPayload().GetBody()))
	}
}

func (s *tester) FullDuplexCall(both grpc.BidiStreamingServer[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]) error {
	for {
		m, err := both.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if string(m.GetPayload().GetBody()) == "panic" {
			panic("secret")
		}
		if err := both.Send(&pb.StreamingOutputCallResponse{Payload: m.GetPayload()}); err != nil {
			return err
		}
	}
}

// tokens is an authenticator that knows one token.
type tokens struct{}

func (tokens) Authenticate(_ context.Context, bearer string) (auth.Principal, error) {
	if bearer != "good" {
		return auth.Principal{}, fault.New(codes.Unauthenticated, "BAD_TOKEN", "bad token")
	}
	return auth.Principal{Subject: "ann"}, nil
}

// transports are the ways to one server that must not be told apart.
func transports(t testing.TB) (map[string]grpc.ClientConnInterface, *tester) {
	impl := &tester{ended: make(chan struct{}, 1)}
	s := rpc.NewServer(rpc.ServerConfig{Authenticator: tokens{}})
	if err := s.Register("tester", &pb.TestService_ServiceDesc, impl); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	conn, closer, err := rpc.Dial(l.Addr().String(), rpc.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = closer.Close()
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
		if err := s.Wait(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return map[string]grpc.ClientConnInterface{
		"process": s.Conn(rpc.ConnOptions{}),
		"wire":    s.Conn(rpc.ConnOptions{Wire: true}),
		"network": conn,
	}, impl
}

func ask(do string) *pb.SimpleRequest {
	return &pb.SimpleRequest{Payload: &pb.Payload{Body: []byte(do)}}
}

func outgoing(ctx context.Context, pairs ...string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, append([]string{"authorization", "Bearer good"}, pairs...)...)
}

func TestTransportsAreAlike(t *testing.T) {
	conns, impl := transports(t)
	for name, conn := range conns {
		c := pb.NewTestServiceClient(conn)
		t.Run(name, func(t *testing.T) {
			t.Run("an error is a status with its details and nothing else", func(t *testing.T) { errorsCross(t, c) })
			t.Run("metadata goes there and back", func(t *testing.T) { metadataCrosses(t, c) })
			t.Run("a handler learns who, what, which key and how long", func(t *testing.T) { contextCrosses(t, c) })
			t.Run("a deadline ends the call and its handler", func(t *testing.T) {
				ctx, cancel := context.WithTimeout(outgoing(t.Context()), 50*time.Millisecond)
				defer cancel()
				_, err := c.UnaryCall(ctx, ask("block"))
				if status.Code(err) != codes.DeadlineExceeded {
					t.Errorf("err = %v", err)
				}
				<-impl.ended
			})
			t.Run("streams of all kinds carry messages and end with their status", func(t *testing.T) { streamsCross(t, c) })
		})
	}
}

func errorsCross(t *testing.T, c pb.TestServiceClient) {
	for _, tt := range []struct {
		do, key string
		code    codes.Code
		reason  string
	}{
		{"panic", "", codes.Internal, ""},
		{"raw", "", codes.Internal, ""},
		{"fault", "", codes.NotFound, "NO_ORDER"},
		{"", strings.Repeat("k", 256), codes.InvalidArgument, "INVALID_IDEMPOTENCY_KEY"},
	} {
		ctx := outgoing(t.Context())
		if tt.key != "" {
			ctx = outgoing(t.Context(), rpc.KeyHeader, tt.key)
		}
		_, err := c.UnaryCall(ctx, ask(tt.do))
		e := fault.From(err)
		if _, ok := err.(interface{ GRPCStatus() *status.Status }); !ok || e.Code != tt.code || tt.reason != "" && e.Reason != tt.reason {
			t.Errorf("%q: %T %v, want %v %s", tt.do, err, err, tt.code, tt.reason)
		}
		if strings.Contains(fmt.Sprintf("%v %v", err, status.Convert(err).Details()), "secret") {
			t.Errorf("%q: a cause was sent: %v", tt.do, err)
		}
		if e.Service != "tester" {
			t.Errorf("%q: raised by %q", tt.do, e.Service)
		}
	}
	for _, authorization := range []string{"", "Bearer bad", "Basic good"} {
		ctx := t.Context()
		if authorization != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", authorization)
		}
		if _, err := c.EmptyCall(ctx, &pb.Empty{}); status.Code(err) != codes.Unauthenticated {
			t.Errorf("authorization %q: %v", authorization, err)
		}
	}
	if _, err := c.UnimplementedCall(outgoing(t.Context()), &pb.Empty{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("a method without code: %v", err)
	}
}

func metadataCrosses(t *testing.T, c pb.TestServiceClient) {
	var header, trailer metadata.MD
	if _, err := c.UnaryCall(outgoing(t.Context(), "sent", "a", "sent", "b"), ask("metadata"), grpc.Header(&header), grpc.Trailer(&trailer)); err != nil {
		t.Fatal(err)
	}
	if got := header.Get("seen"); len(got) != 1 || got[0] != "a,b" {
		t.Errorf("header %v", header)
	}
	if got := trailer.Get("last"); len(got) != 1 || got[0] != "trailer" {
		t.Errorf("trailer %v", trailer)
	}
}

func contextCrosses(t *testing.T, c pb.TestServiceClient) {
	ctx := context.WithValue(outgoing(t.Context(), rpc.KeyHeader, "key 1"), private{}, "leaked")
	got, err := c.UnaryCall(ctx, ask("context"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "ann /grpc.testing.TestService/UnaryCall key 1 true <nil>"; got.GetUsername() != want {
		t.Errorf("%q, want %q", got.GetUsername(), want)
	}
}

func streamsCross(t *testing.T, c pb.TestServiceClient) {
	down, err := c.StreamingOutputCall(outgoing(t.Context()), &pb.StreamingOutputCallRequest{ResponseParameters: []*pb.ResponseParameters{{Size: 1}, {Size: 2}, {Size: -1}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{1, 2} {
		m, err := down.Recv()
		if err != nil || len(m.GetPayload().GetBody()) != want {
			t.Fatalf("%v, %v", m, err)
		}
	}
	if _, err := down.Recv(); status.Code(err) != codes.OutOfRange || fault.From(err).Reason != "NEGATIVE" {
		t.Errorf("end of a server stream: %v", err)
	}
	up, err := c.StreamingInputCall(outgoing(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if err := up.Send(&pb.StreamingInputCallRequest{Payload: &pb.Payload{Body: []byte("abc")}}); err != nil {
			t.Fatal(err)
		}
	}
	if m, err := up.CloseAndRecv(); err != nil || m.GetAggregatedPayloadSize() != 300 {
		t.Errorf("client stream: %v, %v", m, err)
	}
	both, err := c.FullDuplexCall(outgoing(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	for _, do := range []string{"one", "two", "panic"} {
		if err := both.Send(&pb.StreamingOutputCallRequest{Payload: &pb.Payload{Body: []byte(do)}}); err != nil {
			t.Fatal(err)
		}
		m, err := both.Recv()
		if do == "panic" {
			if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "secret") {
				t.Errorf("a panic in a stream: %v", err)
			}
		} else if err != nil || string(m.GetPayload().GetBody()) != do {
			t.Errorf("%v, %v", m, err)
		}
	}
	if err := both.Send(&pb.StreamingOutputCallRequest{}); err != io.EOF {
		t.Errorf("sending on a stream that has ended: %v, want EOF", err)
	}
}

func BenchmarkUnary(b *testing.B) {
	conns, _ := transports(b)
	for _, name := range []string{"process", "wire", "network"} {
		b.Run(name, func(b *testing.B) {
			c, ctx, in := pb.NewTestServiceClient(conns[name]), outgoing(b.Context()), ask("hello")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.UnaryCall(ctx, in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
