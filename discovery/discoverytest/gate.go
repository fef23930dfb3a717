package discoverytest

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Gate is a way to a server, on a loopback port, that can be shut: the
// connections through it break, and new ones are closed at once.
type Gate struct {
	backend  string
	listener net.Listener
	running  sync.WaitGroup

	mu    sync.Mutex
	shut  bool
	conns map[net.Conn]struct{}
}

// NewGate returns an open gate to a server. It is closed when the test ends.
func NewGate(t *testing.T, backend string) *Gate {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &Gate{backend: backend, listener: l, conns: map[net.Conn]struct{}{}}
	g.running.Go(g.accept)
	t.Cleanup(func() {
		g.Break(t)
		l.Close()
		g.running.Wait()
	})
	return g
}

// Addr is where the gate is.
func (g *Gate) Addr() string { return g.listener.Addr().String() }

// Break shuts the gate until mend is called.
func (g *Gate) Break(*testing.T) (mend func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
	for c := range g.conns {
		c.Close()
	}
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.shut = false
	}
}

func (g *Gate) accept() {
	for {
		c, err := g.listener.Accept()
		if err != nil {
			return
		}
		g.running.Go(func() { g.pass(c) })
	}
}

// pass carries one connection.
func (g *Gate) pass(c net.Conn) {
	defer c.Close()
	far, err := net.Dial("tcp", g.backend)
	if err != nil {
		return
	}
	defer far.Close()
	if !g.enter(c, far) {
		return
	}
	defer g.leave(c, far)
	var back sync.WaitGroup
	back.Go(func() {
		io.Copy(c, far)
		c.Close()
	})
	io.Copy(far, c)
	far.Close()
	back.Wait()
}

// enter counts the ends of a connection, if the gate is open.
func (g *Gate) enter(ends ...net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return false
	}
	for _, c := range ends {
		g.conns[c] = struct{}{}
	}
	return true
}

func (g *Gate) leave(ends ...net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range ends {
		delete(g.conns, c)
	}
}
