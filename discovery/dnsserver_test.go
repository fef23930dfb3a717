package discovery_test

import (
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// nameServer is a small authoritative name server of the test's own, on UDP and
// TCP of one loopback port.
type nameServer struct {
	addr    string
	queries chan string // "A order.test.", as they come; what nobody reads is dropped

	mu       sync.Mutex
	hosts    map[string][]string // name to addresses
	services map[string][]srv    // name to SRV records
	ttl      uint32              // of all records
	broken   bool                // answers SERVFAIL
	truncate bool                // UDP answers say that TCP is needed
}

type srv struct {
	target   string
	port     uint16
	priority uint16
}

func startNameServer(t *testing.T) *nameServer {
	t.Helper()
	udp, tcp := samePort(t)
	s := &nameServer{addr: udp.LocalAddr().String(), queries: make(chan string, 100), hosts: map[string][]string{}, services: map[string][]srv{}}
	var running sync.WaitGroup
	running.Go(func() { s.serveUDP(udp) })
	running.Go(func() { s.serveTCP(tcp) })
	t.Cleanup(func() {
		udp.Close()
		tcp.Close()
		running.Wait()
	})
	return s
}

// samePort listens on one port of both protocols: that it is free for one does
// not say that it is for the other.
func samePort(t *testing.T) (*net.UDPConn, net.Listener) {
	t.Helper()
	for range 100 {
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := tcp.Addr().(*net.TCPAddr)
		udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: addr.IP, Port: addr.Port})
		if err == nil {
			return udp, tcp
		}
		tcp.Close()
	}
	t.Fatal("no port is free for both UDP and TCP")
	return nil, nil
}

func (s *nameServer) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *nameServer) serveUDP(c *net.UDPConn) {
	b := make([]byte, 4096)
	for {
		n, from, err := c.ReadFromUDP(b)
		if err != nil {
			return
		}
		if answer := s.answer(b[:n], true); answer != nil {
			c.WriteToUDP(answer, from)
		}
	}
}

func (s *nameServer) serveTCP(l net.Listener) {
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		conns.Go(func() {
			defer c.Close()
			var size [2]byte
			if _, err := io.ReadFull(c, size[:]); err != nil {
				return
			}
			q := make([]byte, binary.BigEndian.Uint16(size[:]))
			if _, err := io.ReadFull(c, q); err != nil {
				return
			}
			answer := s.answer(q, false)
			c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
		})
	}
}

func (s *nameServer) answer(query []byte, udp bool) []byte {
	var q dnsmessage.Message
	if q.Unpack(query) != nil || len(q.Questions) != 1 {
		return nil
	}
	question := q.Questions[0]
	name := strings.ToLower(question.Name.String())
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.queries <- strings.TrimPrefix(question.Type.String(), "Type") + " " + name:
	default:
	}
	r := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: q.ID, Response: true, Authoritative: true, RecursionAvailable: true},
		Questions: q.Questions,
	}
	switch records := s.records(question); {
	case s.broken:
		r.RCode = dnsmessage.RCodeServerFailure
	case udp && s.truncate:
		r.Truncated = true
	case len(s.hosts[name]) == 0 && len(s.services[name]) == 0:
		r.RCode = dnsmessage.RCodeNameError
	default:
		r.Answers = records
	}
	b, err := r.Pack()
	if err != nil {
		return nil
	}
	return b
}

// records returns the answers to a question; the lock is held.
func (s *nameServer) records(q dnsmessage.Question) []dnsmessage.Resource {
	var out []dnsmessage.Resource
	add := func(t dnsmessage.Type, body dnsmessage.ResourceBody) {
		out = append(out, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Type: t, Class: dnsmessage.ClassINET, TTL: s.ttl}, Body: body})
	}
	name := strings.ToLower(q.Name.String())
	switch q.Type {
	case dnsmessage.TypeA, dnsmessage.TypeAAAA:
		for _, a := range s.hosts[name] {
			ip := net.ParseIP(a)
			if v4 := ip.To4(); v4 != nil && q.Type == dnsmessage.TypeA {
				add(q.Type, &dnsmessage.AResource{A: [4]byte(v4)})
			} else if v4 == nil && q.Type == dnsmessage.TypeAAAA {
				add(q.Type, &dnsmessage.AAAAResource{AAAA: [16]byte(ip.To16())})
			}
		}
	case dnsmessage.TypeSRV:
		for _, r := range s.services[name] {
			add(q.Type, &dnsmessage.SRVResource{Priority: r.priority, Weight: 1, Port: r.port, Target: dnsmessage.MustNewName(r.target)})
		}
	}
	return out
}
