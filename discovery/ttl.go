package discovery

import (
	"context"
	"encoding/binary"
	"net"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// forever is the life of an address that was not looked up.
const forever = time.Duration(1<<63 - 1)

// ttls collects the time to live of the answers of one lookup. The resolver of
// the standard library knows all about search lists, retries and truncation,
// but keeps the TTL for itself; so the messages are read as they pass.
type ttls struct {
	mu       sync.Mutex
	shortest time.Duration
}

// read takes the TTLs of one message. What it cannot read, the resolver cannot
// either.
func (t *ttls) read(message []byte) {
	var p dnsmessage.Parser
	if h, err := p.Start(message); err != nil || !h.Response || h.RCode != dnsmessage.RCodeSuccess || p.SkipAllQuestions() != nil {
		return
	}
	for {
		h, err := p.AnswerHeader()
		if err != nil || p.SkipAnswer() != nil {
			return
		}
		t.mu.Lock()
		t.shortest = min(t.shortest, time.Duration(h.TTL)*time.Second)
		t.mu.Unlock()
	}
}

func (t *ttls) get() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.shortest
}

// dialDNS connects to a name server and reads along.
func dialDNS(ctx context.Context, network, addr string, t *ttls) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if udp, ok := conn.(*net.UDPConn); ok {
		return &packets{UDPConn: udp, ttls: t}, nil
	}
	return &stream{Conn: conn, ttls: t}, nil
}

// packets is a connection on which each read is a message. It stays a
// net.PacketConn, by which the resolver tells the two kinds apart.
type packets struct {
	*net.UDPConn
	ttls *ttls
}

// Read implements net.Conn.
func (p *packets) Read(b []byte) (int, error) {
	n, err := p.UDPConn.Read(b)
	p.ttls.read(b[:n])
	return n, err
}

// stream is a connection on which a message follows its length in two bytes
// (RFC 1035, section 4.2.2).
type stream struct {
	net.Conn
	ttls *ttls
	seen []byte
}

// Read implements net.Conn.
func (s *stream) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	s.seen = append(s.seen, b[:n]...)
	for len(s.seen) >= 2 {
		end := 2 + int(binary.BigEndian.Uint16(s.seen))
		if len(s.seen) < end {
			break
		}
		s.ttls.read(s.seen[2:end])
		s.seen = s.seen[end:]
	}
	return n, err
}
