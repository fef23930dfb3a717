package nats_test

import (
	"net"
	"strings"
	"sync"
	"testing"
)

// proxy stands between a client and a server, to break what is between them.
type proxy struct {
	listener net.Listener
	target   string
	work     sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	budget int           // bytes that may still go to the server; -1: any number
	hold   chan struct{} // not nil: answers of the server wait until it is closed
	cut    chan struct{} // closed when the budget was used up
}

// newProxy returns a proxy to the server at the URL. It ends with the test.
func newProxy(t testing.TB, url string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, target: strings.TrimPrefix(url, "nats://"), conns: map[net.Conn]struct{}{}, budget: -1}
	p.work.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.release()
		p.breakAll()
		p.work.Wait()
	})
	return p
}

func (p *proxy) url() string { return "nats://" + p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = near.Close()
			continue
		}
		p.mu.Lock()
		p.conns[near], p.conns[far] = struct{}{}, struct{}{}
		p.mu.Unlock()
		p.work.Go(func() { p.pass(far, near, p.toServer) })
		p.work.Go(func() { p.pass(near, far, p.toClient) })
	}
}

// pass copies until one end closes or gate says that it is over.
func (p *proxy) pass(to, from net.Conn, gate func(n int) (int, bool)) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			n, open := gate(n)
			if _, err := to.Write(buf[:n]); err != nil || !open {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *proxy) toServer(n int) (int, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.budget < 0 {
		return n, true
	}
	if n < p.budget {
		p.budget -= n
		return n, true
	}
	n, p.budget = p.budget, -1
	close(p.cut)
	return n, false
}

func (p *proxy) toClient(n int) (int, bool) {
	p.mu.Lock()
	hold := p.hold
	p.mu.Unlock()
	if hold != nil {
		<-hold
	}
	return n, true
}

// cutAfter breaks the connection once n more bytes have gone to the server.
func (p *proxy) cutAfter(n int) (cut <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.budget, p.cut = n, make(chan struct{})
	return p.cut
}

// mute keeps answers from the client until release.
func (p *proxy) mute() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hold = make(chan struct{})
}

func (p *proxy) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hold != nil {
		close(p.hold)
		p.hold = nil
	}
}

// breakAll breaks every connection.
func (p *proxy) breakAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
		delete(p.conns, c)
	}
}
