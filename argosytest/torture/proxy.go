//go:build linux

package torture

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// Proxy forwards TCP connections and can be told to be a bad line. It needs
// no rights and no tools.
type Proxy struct {
	// Name of the line, and of the target of the faults that strike it.
	Name string
	// Addr is where the proxy listens.
	Addr string

	dial     func(context.Context) (net.Conn, error)
	listener net.Listener
	ctx      context.Context
	cancel   context.CancelFunc
	all      sync.WaitGroup

	mu      sync.Mutex
	line    line
	changed chan struct{} // closed when line changes
	open    map[net.Conn]struct{}
}

// line is how bad a line is. The zero value is a good one.
type line struct {
	refuse bool          // new connections are reset
	still  bool          // nothing passes
	delay  time.Duration // each piece waits for up to this long
	rate   int           // bytes a second each way; 0: as fast as it goes
}

// ProxyConfig says what a proxy joins.
type ProxyConfig struct {
	// Name of the line. Required.
	Name string
	// Host is where the proxy listens, and Addr the address there; port 0 takes
	// a free one. Host nil: the machine of the test.
	Host *Host
	Addr string
	// From is where Target is dialled from: an IP address and port, or the path
	// of a Unix socket. Nil: the machine of the test.
	From   *Host
	Target string
}

// NewProxy returns a proxy that works until the test ends.
func NewProxy(t testing.TB, c ProxyConfig) *Proxy {
	t.Helper()
	here := &Host{}
	at, from := cmp.Or(c.Host, here), cmp.Or(c.From, here)
	l, err := at.Listen("tcp", c.Addr)
	if err != nil {
		t.Fatalf("torture: proxy %s: %v", c.Name, err)
	}
	network := "tcp"
	if strings.HasPrefix(c.Target, "/") {
		network = "unix"
	}
	p := &Proxy{
		Name: c.Name, Addr: l.Addr().String(), listener: l, changed: make(chan struct{}), open: map[net.Conn]struct{}{},
		dial: func(ctx context.Context) (net.Conn, error) { return from.Dial(ctx, network, c.Target) },
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.all.Go(p.serve)
	t.Cleanup(p.close)
	return p
}

func (p *Proxy) close() {
	p.cancel()
	_ = p.listener.Close() // it ends serve, whatever it says
	p.reset()
	p.all.Wait()
}

func (p *Proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of files, say: it passes
			if pause(p.ctx, poll) != nil {
				return
			}
			continue
		}
		p.all.Go(func() { p.forward(client) })
	}
}

// forward carries one connection until either side ends it.
func (p *Proxy) forward(client net.Conn) {
	defer p.drop(client)
	if !p.keep(client) {
		return
	}
	server, err := p.dial(p.ctx)
	if err != nil {
		return
	}
	defer p.drop(server)
	if !p.keep(server) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { p.pump(server, client) })
	both.Go(func() { p.pump(client, server) })
	both.Wait()
}

// keep adds a connection to those that can be cut, if any may be made now.
func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.line.refuse || p.ctx.Err() != nil {
		return false
	}
	p.open[c] = struct{}{}
	return true
}

// drop resets a connection: what is under way is lost.
func (p *Proxy) drop(c net.Conn) {
	p.mu.Lock()
	delete(p.open, c)
	p.mu.Unlock()
	reset(c)
}

func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // it may be closed already
	}
	_ = c.Close()
}

// reset resets every open connection.
func (p *Proxy) reset() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		reset(c)
	}
	return len(p.open)
}

// piece is how much passes at once; small, so that a line that is cut is cut
// within a message.
const piece = 4 << 10

// pump copies from one side to the other as well as the line lets it. An end
// on one side is passed on; an error drops both.
func (p *Proxy) pump(to, from net.Conn) {
	buf := make([]byte, piece)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if p.wait(n) != nil {
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				reset(from)
				return
			}
		}
		if err == nil {
			continue
		}
		if tcp, ok := to.(*net.TCPConn); ok && err == io.EOF {
			_ = tcp.CloseWrite() // it may be closed already
			return
		}
		reset(to)
		return
	}
}

// wait holds n bytes back for as long as the line is bad.
func (p *Proxy) wait(n int) error {
	for {
		p.mu.Lock()
		l, changed := p.line, p.changed
		p.mu.Unlock()
		if l.still {
			select {
			case <-changed:
				continue
			case <-p.ctx.Done():
				return p.ctx.Err()
			}
		}
		var d time.Duration
		if l.delay > 0 {
			d = rand.N(l.delay)
		}
		if l.rate > 0 {
			d += time.Duration(n) * time.Second / time.Duration(l.rate)
		}
		if d == 0 {
			return nil
		}
		return pause(p.ctx, d)
	}
}

// set makes the line as bad as l.
func (p *Proxy) set(l line) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.line = l
	close(p.changed)
	p.changed = make(chan struct{})
}

// bad is the fault of a bad line.
func (p *Proxy) bad(name string, most time.Duration, l line, also func(*Scene)) Fault {
	return Fault{
		Name: fmt.Sprintf(name, p.Name), Targets: []string{"line " + p.Name}, Max: most,
		Inject: func(_ context.Context, s *Scene) (Heal, error) {
			p.set(l)
			if also != nil {
				also(s)
			}
			return func(context.Context) error { p.set(line{}); return nil }, nil
		},
	}
}

// Delay has every piece of a few KiB wait for up to d, each connection on its
// own: what is sent on several arrives in another order. It lasts up to ten
// seconds.
func (p *Proxy) Delay(d time.Duration) Fault {
	return p.bad("delay and reorder on %s", 10*time.Second, line{delay: d}, nil)
}

// Throttle lets bytes a second pass on each connection and each way: the
// other side is a slow consumer. It lasts up to ten seconds.
func (p *Proxy) Throttle(bytes int) Fault {
	return p.bad("throttle %s", 10*time.Second, line{rate: bytes}, nil)
}

// Silence lets nothing pass, and connections stay open, for up to ten seconds.
// What was sent arrives afterwards.
func (p *Proxy) Silence() Fault {
	return p.bad("silence %s", 10*time.Second, line{still: true}, nil)
}

// Cut resets every connection, in the middle of whatever is said, and those
// that are made within the next up to three seconds.
func (p *Proxy) Cut() Fault {
	return p.bad("cut %s", 3*time.Second, line{refuse: true}, func(s *Scene) { s.Note("%d connections reset", p.reset()) })
}
