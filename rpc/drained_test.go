package rpc

import (
	"context"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"
)

// spring is a server whose streams send a message and stay open.
type spring struct {
	pb.UnimplementedTestServiceServer
}

func (spring) FullDuplexCall(s grpc.BidiStreamingServer[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]) error {
	if err := s.Send(&pb.StreamingOutputCallResponse{}); err != nil {
		return err
	}
	<-s.Context().Done()
	return s.Context().Err()
}

// What tells an end in peace from a broken connection is a text of grpc-go's:
// this holds it to that, against a server of its own.
func TestAConnectionThatEndsAfterGOAWAYIsNotOneThatBreaks(t *testing.T) {
	for name, tt := range map[string]struct{ goAway, want bool }{
		"after GOAWAY": {true, true},
		"without":      {false, false},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			s := grpc.NewServer()
			pb.RegisterTestServiceServer(s, spring{})
			served := make(chan error, 1)
			go func() { served <- s.Serve(l) }()
			conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			stream, err := pb.NewTestServiceClient(conn).FullDuplexCall(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); err != nil {
				t.Fatal(err)
			}
			drain := make(chan struct{})
			if tt.goAway {
				go func() {
					defer close(drain)
					s.GracefulStop()
				}()
				if !conn.WaitForStateChange(t.Context(), connectivity.Ready) { // GOAWAY has come
					t.Fatal(context.Cause(t.Context()))
				}
			} else {
				close(drain)
			}
			s.Stop()
			<-drain
			_, err = stream.Recv()
			if status.Code(err) != codes.Unavailable || drained(err) != tt.want {
				t.Errorf("drained: %v, want %v: %v", drained(err), tt.want, err)
			}
			if err := <-served; err != nil {
				t.Error(err)
			}
		})
	}
}
