package rpc_test

import (
	"context"
	"errors"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	pb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/guard"
	"github.com/argosy-go/argosy/rpc"
)

type both = grpc.BidiStreamingServer[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]

// overNetwork serves until the test ends and returns a connection.
func overNetwork(t *testing.T, s *rpc.Server) grpc.ClientConnInterface {
	t.Helper()
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
		ctx := context.Background() // that of the test has ended
		if err := errors.Join(closer.Close(), s.Shutdown(ctx), <-served, s.Wait(ctx)); err != nil {
			t.Error(err)
		}
	})
	return conn
}

func TestAStreamThatBreaksAfterItsFirstMessageCountsAtTheBreaker(t *testing.T) {
	for name, tt := range map[string]struct {
		serve  func(both) error
		cancel bool // by the client, after the first message
		want   guard.State
	}{
		"when it breaks":                     {func(both) error { return fault.New(codes.Unavailable, "AWAY", "away") }, false, guard.Open},
		"when it panics":                     {func(both) error { panic("broken") }, false, guard.Open},
		"not when the server drains":         {func(both) error { return fault.New(codes.Unavailable, fault.ReasonDraining, "away") }, false, guard.Closed},
		"not when it ends well":              {func(both) error { return nil }, false, guard.Closed},
		"not when the client has had enough": {func(s both) error { <-s.Context().Done(); return s.Context().Err() }, true, guard.Closed},
	} {
		t.Run(name, func(t *testing.T) {
			s := (&scripted{stream: func(s both) error {
				if err := s.Send(&pb.StreamingOutputCallResponse{}); err != nil {
					return err
				}
				return tt.serve(s)
			}}).server(t, rpc.ServerConfig{})
			for where, transport := range map[string]grpc.ClientConnInterface{"in the process": s.Conn(rpc.ConnOptions{}), "over the network": overNetwork(t, s)} {
				t.Run(where, func(t *testing.T) {
					c, conn := client(t, transport, guard.Config{MaxAttempts: 1})
					for range 40 {
						if !openAndEnd(t, c, tt.cancel) {
							break
						}
					}
					for _, m := range conn.Guards().Methods {
						if m.Method == "/grpc.testing.TestService/FullDuplexCall" && m.Breaker.State != tt.want.String() {
							t.Errorf("the breaker is %v, want %v", m.Breaker.State, tt.want)
						}
					}
				})
			}
		})
	}
}

// openAndEnd opens a stream and follows it to its end. It reports whether the
// breaker let it.
func openAndEnd(t *testing.T, c pb.TestServiceClient, enough bool) bool {
	t.Helper()
	ctx, cancel := context.WithCancel(outgoing(t.Context()))
	defer cancel()
	stream, err := c.FullDuplexCall(ctx)
	if fault.From(err) != nil && fault.From(err).Reason == "BREAKER_OPEN" {
		return false
	}
	if err == nil {
		_, err = stream.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
	if enough {
		cancel()
	}
	for err == nil {
		_, err = stream.Recv()
	}
	return true
}
