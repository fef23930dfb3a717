package rpc_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	pb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/argosy-go/argosy/rpc"
)

// aging is a server whose connections live for a moment.
type aging struct {
	*rpc.Server
	listener *counting
	served   chan error
}

func startAging(t *testing.T) *aging {
	t.Helper()
	s := rpc.NewServer(rpc.ServerConfig{Authenticator: tokens{}, MaxConnectionAge: 50 * time.Millisecond})
	if err := s.Register("tester", &pb.TestService_ServiceDesc, &tester{}); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &aging{s, &counting{Listener: l}, make(chan error, 1)}
	go func() { a.served <- s.Serve(a.listener) }()
	return a
}

// stop drains the server.
func (a *aging) stop() error { return errors.Join(a.Shutdown(context.Background()), <-a.served) }

// TestNoCallIsLostAsConnectionsAgeAndAServerDrains calls from many goroutines,
// with no guard that would call again.
func TestNoCallIsLostAsConnectionsAgeAndAServerDrains(t *testing.T) {
	first, second := startAging(t), startAging(t)
	conn, closer, err := rpc.Dial(first.listener.Addr().String()+"|"+second.listener.Addr().String(), rpc.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c := pb.NewTestServiceClient(conn)
	var stop atomic.Bool
	var made atomic.Int64
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for !stop.Load() {
				if _, err := c.EmptyCall(outgoing(t.Context()), &pb.Empty{}); err != nil {
					t.Errorf("call %d: %v", made.Load(), err)
					return
				}
				made.Add(1)
			}
		})
	}
	until(t, "connections do not grow old", func() bool {
		return t.Failed() || first.listener.count() >= 4 && second.listener.count() >= 4
	})
	if err := first.stop(); err != nil {
		t.Error(err)
	}
	at := made.Load()
	until(t, "nobody takes the calls of the server that has gone", func() bool { return t.Failed() || made.Load() > at+100 })
	stop.Store(true)
	callers.Wait()
	if err := errors.Join(closer.Close(), second.stop()); err != nil {
		t.Error(err)
	}
	t.Logf("%d calls over %d connections", made.Load(), first.listener.count()+second.listener.count())
}

func TestWhoWatchesHealthIsToldOfADrain(t *testing.T) {
	s := rpc.NewServer(rpc.ServerConfig{})
	if err := s.Register("tester", &pb.TestService_ServiceDesc, &tester{}); err != nil {
		t.Fatal(err)
	}
	conn, _ := served(t, s)
	watches := map[string]healthpb.Health_WatchClient{}
	for _, name := range []string{"", "grpc.testing.TestService", "nothing"} {
		w, err := healthpb.NewHealthClient(conn).Watch(t.Context(), &healthpb.HealthCheckRequest{Service: name})
		if err != nil {
			t.Fatal(err)
		}
		watches[name] = w
	}
	told := func(name string, want healthpb.HealthCheckResponse_ServingStatus) {
		t.Helper()
		if r, err := watches[name].Recv(); err != nil || r.GetStatus() != want {
			t.Errorf("%q is told %v, %v; want %v", name, r.GetStatus(), err, want)
		}
	}
	const serving, not, unknown = healthpb.HealthCheckResponse_SERVING, healthpb.HealthCheckResponse_NOT_SERVING, healthpb.HealthCheckResponse_SERVICE_UNKNOWN
	told("nothing", unknown)
	told("", not) // until it is said
	told("grpc.testing.TestService", unknown)
	for _, on := range []bool{true, false, true} {
		s.SetServing(on)
		want := not
		if on {
			want = serving
		}
		told("", want)
		told("grpc.testing.TestService", want)
	}
}
