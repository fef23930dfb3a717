package rpc_test

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	pb "google.golang.org/grpc/interop/grpc_testing"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/rpc"
)

func sized(n int) *pb.Payload { return &pb.Payload{Body: make([]byte, n)} }

func TestLargeMessagesPassUpToTheLimitOnEveryTransport(t *testing.T) {
	conns, _ := transports(t)
	const limit, frame = 4 << 20, 64 // what the message adds to its payload
	for _, name := range []string{"wire", "network"} {
		c := pb.NewTestServiceClient(conns[name])
		t.Run(name, func(t *testing.T) {
			for bytes, want := range map[int]codes.Code{limit - frame: codes.OK, limit + frame: codes.ResourceExhausted} {
				_, err := c.UnaryCall(outgoing(t.Context()), &pb.SimpleRequest{Payload: sized(bytes)})
				if fault.CodeOf(err) != want {
					t.Errorf("a call of %d bytes: %v, want %v", bytes, err, want)
				}
				both, err := c.FullDuplexCall(outgoing(t.Context()))
				if err != nil {
					t.Fatal(err)
				}
				_ = both.Send(&pb.StreamingOutputCallRequest{Payload: sized(bytes)}) // Recv says what became of it
				if _, err := both.Recv(); fault.CodeOf(err) != want {
					t.Errorf("a stream's message of %d bytes: %v, want %v", bytes, err, want)
				}
				_ = both.CloseSend()
				down, err := c.StreamingOutputCall(outgoing(t.Context()), &pb.StreamingOutputCallRequest{ResponseParameters: []*pb.ResponseParameters{{Size: int32(bytes)}}})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := down.Recv(); fault.CodeOf(err) != want {
					t.Errorf("a reply of %d bytes: %v, want %v", bytes, err, want)
				}
			}
		})
	}
}

// pushing sends messages for as long as somebody takes them.
type pushing struct {
	tester
	sent chan int // how many, when the stream has ended
}

func (s *pushing) StreamingOutputCall(_ *pb.StreamingOutputCallRequest, out grpc.ServerStreamingServer[pb.StreamingOutputCallResponse]) error {
	n := 0
	defer func() { s.sent <- n }()
	for out.Send(&pb.StreamingOutputCallResponse{Payload: sized(64 << 10)}) == nil {
		n++
	}
	return out.Context().Err()
}

func TestASlowReaderHoldsTheSenderUpAndNobodyElse(t *testing.T) {
	impl := &pushing{sent: make(chan int, 1)}
	s, overNetwork, _ := listening(t, rpc.ServerConfig{}, impl)
	for name, c := range map[string]pb.TestServiceClient{
		"network": overNetwork, "wire": pb.NewTestServiceClient(s.Conn(rpc.ConnOptions{Wire: true})),
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(outgoing(t.Context()))
			slow, err := c.StreamingOutputCall(ctx, &pb.StreamingOutputCallRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := slow.Recv(); err != nil {
				t.Fatal(err)
			}
			for range 200 { // on the same connection
				if _, err := c.UnaryCall(outgoing(t.Context()), &pb.SimpleRequest{Payload: sized(16 << 10)}); err != nil {
					t.Fatalf("a call beside a stream that is not read: %v", err)
				}
			}
			cancel()
			if n := <-impl.sent; n > 200 {
				t.Errorf("%d messages of 64 KiB were sent to a client that read one", n)
			}
		})
	}
}

func TestCancellationUnderLoadLeavesNothingBehind(t *testing.T) {
	entered := make(chan struct{}, 1000)
	impl := &scripted{unary: func(ctx context.Context) error {
		entered <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}}
	s, c, _ := listening(t, rpc.ServerConfig{}, impl)
	for range 10 {
		ctx, cancel := context.WithCancel(outgoing(t.Context()))
		var calls sync.WaitGroup
		for range 100 {
			calls.Go(func() {
				if _, err := c.EmptyCall(ctx, &pb.Empty{}); status.Code(err) != codes.Canceled {
					t.Errorf("a canceled call ended with %v", err)
				}
			})
		}
		for range 100 {
			<-entered
		}
		cancel()
		calls.Wait()
	}
	if err := s.Shutdown(t.Context()); err != nil { // waits for the handlers
		t.Error(err)
	}
	if st := s.Snapshot(); st.InFlight != 0 || len(st.Shed) != 0 || !st.Draining {
		t.Errorf("the state says %+v", st)
	}
}

func TestConnectionsAreEndedWithGrace(t *testing.T) {
	accepted := &counting{}
	impl := &tester{}
	s := rpc.NewServer(rpc.ServerConfig{Authenticator: tokens{}, MaxConnectionAge: 50 * time.Millisecond})
	if err := s.Register("tester", &pb.TestService_ServiceDesc, impl); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted.Listener = l
	served := make(chan error, 1)
	go func() { served <- s.Serve(accepted) }()
	conn, closer, err := rpc.Dial(l.Addr().String(), rpc.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c := pb.NewTestServiceClient(conn)
	long, err := c.FullDuplexCall(outgoing(t.Context())) // spans the ages of connections
	if err != nil {
		t.Fatal(err)
	}
	for accepted.count() < 4 {
		if _, err := c.EmptyCall(outgoing(t.Context()), &pb.Empty{}); err != nil {
			t.Fatalf("a call failed as its connection grew old: %v", err)
		}
	}
	if err := long.Send(&pb.StreamingOutputCallRequest{Payload: sized(1)}); err != nil {
		t.Error(err)
	}
	if _, err := long.Recv(); err != nil {
		t.Errorf("a call under way was broken off: %v", err)
	}
	if err := errors.Join(long.CloseSend(), closer.Close(), s.Shutdown(t.Context()), <-served); err != nil {
		t.Error(err)
	}
}

// counting is a listener that counts.
type counting struct {
	net.Listener
	mu sync.Mutex
	n  int
}

func (l *counting) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	l.mu.Lock()
	l.n++
	l.mu.Unlock()
	return c, err
}

func (l *counting) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

func TestADrainFinishesCallsAndSendsTheNextElsewhere(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s, c, _ := listening(t, rpc.ServerConfig{}, &scripted{unary: func(context.Context) error { close(entered); <-leave; return nil }})
	done := make(chan error, 1)
	go func() { _, err := c.EmptyCall(outgoing(t.Context()), &pb.Empty{}); done <- err }()
	<-entered
	down := make(chan error, 1)
	go func() { down <- s.Shutdown(t.Context()) }()
	for !s.Snapshot().Draining {
		runtime.Gosched()
	}
	close(leave)
	if err := errors.Join(<-done, <-down); err != nil {
		t.Errorf("a call that was accepted before the drain: %v", err)
	}
	_, err := c.EmptyCall(outgoing(t.Context()), &pb.Empty{})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("a call after the drain: %v", err)
	}
}

func TestHealthIsToldPerContract(t *testing.T) {
	s := rpc.NewServer(rpc.ServerConfig{})
	if err := s.Register("tester", &pb.TestService_ServiceDesc, &tester{}); err != nil {
		t.Fatal(err)
	}
	conn, _ := served(t, s)
	ask := func(name string) (healthpb.HealthCheckResponse_ServingStatus, codes.Code) {
		r, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{Service: name})
		return r.GetStatus(), status.Code(err)
	}
	const serving, not = healthpb.HealthCheckResponse_SERVING, healthpb.HealthCheckResponse_NOT_SERVING
	s.SetServing(true)
	for _, name := range []string{"", "grpc.testing.TestService"} {
		if got, code := ask(name); got != serving || code != codes.OK {
			t.Errorf("%q is %v, %v", name, got, code)
		}
	}
	if _, code := ask("nothing"); code != codes.NotFound {
		t.Errorf("a contract that is not served: %v", code)
	}
	s.SetServing(false)
	for _, name := range []string{"", "grpc.testing.TestService"} {
		if got, _ := ask(name); got != not {
			t.Errorf("in a drain %q is %v", name, got)
		}
	}
}

func TestReflectionNamesTheContracts(t *testing.T) {
	s := rpc.NewServer(rpc.ServerConfig{})
	if err := s.Register("tester", &pb.TestService_ServiceDesc, &tester{}); err != nil {
		t.Fatal(err)
	}
	conn, _ := served(t, s)
	stream, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}); err != nil {
		t.Fatal(err)
	}
	got, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, s := range got.GetListServicesResponse().GetService() {
		names[s.GetName()] = true
	}
	if !names["grpc.testing.TestService"] || !names["grpc.health.v1.Health"] {
		t.Errorf("the contracts are %v", names)
	}
	if err := stream.CloseSend(); err != nil {
		t.Error(err)
	}
	if _, err := stream.Recv(); err != io.EOF {
		t.Errorf("the stream ends with %v", err)
	}
}

// served serves s on loopback until the test ends, and returns a connection and
// the address.
func served(t *testing.T, s *rpc.Server) (conn grpc.ClientConnInterface, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	conn, closer, err := rpc.Dial(l.Addr().String(), rpc.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(closer.Close(), s.Shutdown(context.Background()), <-ended); err != nil {
			t.Error(err)
		}
	})
	return conn, l.Addr().String()
}
