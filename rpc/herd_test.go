package rpc_test

import (
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/argosy-go/argosy/docs/guide/greeter/greeterpb"
	"github.com/argosy-go/argosy/rpc"
)

// counted notes when each connection came, and tells when there were enough.
type counted struct {
	net.Listener
	enough int
	done   chan struct{}

	mu   sync.Mutex
	came []time.Time
}

func countOn(t *testing.T, addr string, enough int) *counted {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return &counted{Listener: l, enough: enough, done: make(chan struct{})}
}

// Accept implements net.Listener.
func (c *counted) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.mu.Lock()
		c.came = append(c.came, time.Now())
		if len(c.came) == c.enough {
			close(c.done)
		}
		c.mu.Unlock()
	}
	return conn, err
}

// most returns how many came in the fullest tenth of a second.
func (c *counted) most() (most int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	buckets := map[time.Duration]int{}
	for _, at := range c.came {
		n := at.Sub(c.came[0]) / (100 * time.Millisecond)
		buckets[n]++
		most = max(most, buckets[n])
	}
	return most
}

// An outage is over: clients that lost a server in one instant, and have
// knocked in vain since, come back one after the other.
func TestAnOutageOfTwoHundredClientsEndsWithoutAHerd(t *testing.T) {
	const clients = 200
	first := startReplica(t, "127.0.0.1:0")
	var dialled sync.WaitGroup
	for range clients {
		conn, closer, err := rpc.Dial(first.addr, rpc.DialOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := closer.Close(); err != nil {
				t.Error(err)
			}
		})
		dialled.Go(func() {
			if _, err := greeterpb.NewGreeterClient(conn).Greet(t.Context(), &greeterpb.GreetRequest{}); err != nil {
				t.Error(err)
			}
		})
	}
	dialled.Wait()
	first.srv.Stop()

	// Who knocks during the outage is turned away, three times on average.
	outage := countOn(t, first.addr, 3*clients)
	var knocking sync.WaitGroup
	knocking.Go(func() {
		for {
			conn, err := outage.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	})
	<-outage.done
	outage.Close()
	knocking.Wait()

	back := countOn(t, first.addr, clients)
	srv := grpc.NewServer()
	greeterpb.RegisterGreeterServer(srv, first)
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := srv.Serve(back); err != nil {
			t.Error(err)
		}
	})
	<-back.done
	srv.Stop()
	serving.Wait()
	most := back.most()
	t.Logf("%d clients came back, at most %d in the same 100 ms", clients, most)
	if most > clients/2 {
		t.Errorf("%d of %d clients came back in the same 100 ms", most, clients)
	}
}
