package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/rpc"
)

// telling answers every kind of call with headers, one message where there is
// one, trailers, and an end that the caller asks for.
type telling struct {
	pb.UnimplementedTestServiceServer
}

var ends = map[string]error{
	"well":  nil,
	"fault": fault.New(codes.FailedPrecondition, "SOLD_OUT", "none is left").WithMetadata("sku", "7").WithRetryAfter(3 * time.Second),
	"field": fault.Invalid("lines[2].quantity", "must be positive"),
	"plain": errors.New("secret"),
}

func tell(ctx context.Context, set func(metadata.MD) error, last func(metadata.MD)) error {
	md, _ := metadata.FromIncomingContext(ctx)
	if err := set(metadata.Pairs("seen", strings.Join(md.Get("sent"), "+"), "raw-bin", "\x00\xff")); err != nil {
		return err
	}
	last(metadata.Pairs("last", "trailer"))
	end := md.Get("end")[0]
	if end == "panic" {
		panic("secret")
	}
	return ends[end]
}

func (telling) UnaryCall(ctx context.Context, _ *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	return &pb.SimpleResponse{}, tell(ctx, func(md metadata.MD) error { return grpc.SetHeader(ctx, md) }, func(md metadata.MD) { _ = grpc.SetTrailer(ctx, md) })
}

func (telling) StreamingOutputCall(_ *pb.StreamingOutputCallRequest, s grpc.ServerStreamingServer[pb.StreamingOutputCallResponse]) error {
	return tell(s.Context(), s.SendHeader, s.SetTrailer)
}

func (telling) StreamingInputCall(s grpc.ClientStreamingServer[pb.StreamingInputCallRequest, pb.StreamingInputCallResponse]) error {
	if err := tell(s.Context(), s.SendHeader, s.SetTrailer); err != nil {
		return err
	}
	return s.SendAndClose(&pb.StreamingInputCallResponse{})
}

func (telling) FullDuplexCall(s grpc.BidiStreamingServer[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]) error {
	return tell(s.Context(), s.SendHeader, s.SetTrailer)
}

// kinds make a call of each kind and tell all that its caller can see.
var kinds = map[string]func(ctx context.Context, c pb.TestServiceClient) string{
	"unary": func(ctx context.Context, c pb.TestServiceClient) string {
		var header, trailer metadata.MD
		_, err := c.UnaryCall(ctx, &pb.SimpleRequest{}, grpc.Header(&header), grpc.Trailer(&trailer))
		return seen(header, trailer, err)
	},
	"server stream": func(ctx context.Context, c pb.TestServiceClient) string {
		s, err := c.StreamingOutputCall(ctx, &pb.StreamingOutputCallRequest{})
		if err != nil {
			return err.Error()
		}
		_, err = s.Recv()
		return seenBy(s, err)
	},
	"client stream": func(ctx context.Context, c pb.TestServiceClient) string {
		s, err := c.StreamingInputCall(ctx)
		if err != nil {
			return err.Error()
		}
		_, err = s.CloseAndRecv()
		return seenBy(s, err)
	},
	"both stream": func(ctx context.Context, c pb.TestServiceClient) string {
		s, err := c.FullDuplexCall(ctx)
		if err != nil {
			return err.Error()
		}
		_, err = s.Recv()
		return seenBy(s, err)
	},
}

func seenBy(s grpc.ClientStream, err error) string {
	header, herr := s.Header()
	if herr != nil {
		return herr.Error()
	}
	return seen(header, s.Trailer(), err)
}

// seen writes down what a caller sees but for what is the network's own.
func seen(header, trailer metadata.MD, err error) string {
	for _, md := range []metadata.MD{header, trailer} {
		md.Delete("content-type")
		md.Delete("grpc-status-details-bin")
	}
	e := fault.From(err)
	if errors.Is(err, io.EOF) || e == nil {
		e = &fault.Error{}
	}
	return fmt.Sprintf("header %q trailer %q %v %s %q %s %v %v %v %t", map[string][]string(header), map[string][]string(trailer),
		e.Code, e.Reason, e.Message, e.Service, e.Metadata, e.Violations, e.RetryAfter, e.NotDone)
}

func TestCallsOfAllKindsLookTheSameOnEveryTransport(t *testing.T) {
	s := rpc.NewServer(rpc.ServerConfig{Authenticator: tokens{}})
	if err := s.Register("teller", &pb.TestService_ServiceDesc, telling{}); err != nil {
		t.Fatal(err)
	}
	conn, _ := served(t, s)
	network := pb.NewTestServiceClient(conn)
	for kind, call := range kinds {
		for _, end := range []string{"well", "fault", "field", "plain", "panic"} {
			t.Run(kind+" that ends "+end, func(t *testing.T) {
				ctx := outgoing(t.Context(), "sent", "a", "sent", "b", "end", end)
				want := call(ctx, network)
				if strings.Contains(want, "secret") || !strings.Contains(want, `"a+b"`) || !strings.Contains(want, `"trailer"`) {
					t.Errorf("network: %s", want)
				}
				for name, o := range map[string]rpc.ConnOptions{"process": {}, "wire": {Wire: true}} {
					if got := call(ctx, pb.NewTestServiceClient(s.Conn(o))); got != want {
						t.Errorf("%s\n     %s\nwant %s", name, got, want)
					}
				}
			})
		}
		t.Run(kind+" that is refused", func(t *testing.T) {
			for name, ctx := range map[string]context.Context{
				"no token": t.Context(), "a bad key": outgoing(t.Context(), rpc.KeyHeader, strings.Repeat("k", 256)),
			} {
				want := call(ctx, network)
				for _, o := range []rpc.ConnOptions{{}, {Wire: true}} {
					if got := call(ctx, pb.NewTestServiceClient(s.Conn(o))); got != want {
						t.Errorf("%s, wire %t\n     %s\nwant %s", name, o.Wire, got, want)
					}
				}
			}
		})
	}
}
