package rpc

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/argosy-go/argosy/docs/guide/greeter/greeterpb"
)

// host is a server that can vanish: its network takes what is sent to it and
// sends nothing back, and no connection breaks.
type host struct {
	greeterpb.UnimplementedGreeterServer
	name   string
	listen *bufconn.Listener
	gone   atomic.Bool
}

func (h *host) Greet(context.Context, *greeterpb.GreetRequest) (*greeterpb.Greeting, error) {
	return &greeterpb.Greeting{Text: h.name}, nil
}

// serve serves until the test ends.
func (h *host) serve(t *testing.T) {
	h.listen = bufconn.Listen(64 << 10)
	s := grpc.NewServer()
	greeterpb.RegisterGreeterServer(s, h)
	served := make(chan error, 1)
	go func() { served <- s.Serve(h.listen) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

// line is a connection to a host, from the client's end.
type line struct {
	net.Conn
	to     *host
	once   sync.Once
	closed chan struct{}
}

func (h *host) dial(ctx context.Context) (net.Conn, error) {
	if h.gone.Load() {
		<-ctx.Done() // nobody answers
		return nil, ctx.Err()
	}
	c, err := h.listen.DialContext(ctx)
	if err != nil {
		return nil, err
	}
	return &line{Conn: c, to: h, closed: make(chan struct{})}, nil
}

func (l *line) Write(p []byte) (int, error) {
	if l.to.gone.Load() {
		return len(p), nil // the network takes it, and it is gone
	}
	return l.Conn.Write(p)
}

func (l *line) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if l.to.gone.Load() {
		<-l.closed
		return 0, net.ErrClosed
	}
	return n, err
}

func (l *line) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Conn.Close()
}

// Time is the bubble's: 40 s pass in no time.
func TestAPeerThatVanishesIsFoundAndCallsGoElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hosts := map[string]*host{"10.0.0.1:1": {name: "first"}, "10.0.0.2:1": {name: "second"}}
		for _, h := range hosts {
			h.serve(t)
		}
		conn, closer, err := dial("10.0.0.1:1|10.0.0.2:1", DialOptions{}, grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return hosts[addr].dial(ctx)
		}))
		if err != nil {
			t.Fatal(err)
		}
		c := greeterpb.NewGreeterClient(conn)
		call := func() (string, error) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			res, err := c.Greet(ctx, &greeterpb.GreetRequest{})
			return res.GetText(), err
		}
		for had := map[string]bool{}; len(had) < 2; {
			name, err := call()
			if err != nil {
				t.Fatal(err)
			}
			had[name] = true
		}
		hosts["10.0.0.1:1"].gone.Store(true)
		begun, failed := time.Now(), 0
		for range 20 {
			if name, err := call(); err != nil && status.Code(err) == codes.Unavailable {
				failed++
			} else if err != nil || name != "second" {
				t.Errorf("a call ended with %q, %v", name, err)
			}
		}
		if failed != 1 {
			t.Errorf("%d of 20 calls failed, one after the other; want the first that was sent to who had vanished", failed)
		}
		if took := time.Since(begun); took > silentFor+answerAfter {
			t.Errorf("it took %s to find that a peer had vanished", took)
		}
		if err := closer.Close(); err != nil {
			t.Error(err)
		}
	})
}
