package discoverytest

import (
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// NameServer is a small authoritative name server, on UDP and TCP of one
// loopback port. Safe for concurrent use.
type NameServer struct {
	addr    string
	queries chan string

	mu   sync.Mutex
	zone Zone
}

// Zone is what a [NameServer] answers. Names end with a dot.
type Zone struct {
	// Hosts are the addresses of names, of either family.
	Hosts map[string][]string
	// Services are the SRV records of names.
	Services map[string][]SRV
	// TTL is that of all records, in seconds.
	TTL uint32
	// Broken: everything is answered with SERVFAIL.
	Broken bool
	// Truncate: answers over UDP say that TCP is needed.
	Truncate bool
}

// SRV is an SRV record (RFC 2782).
type SRV struct {
	Target         string
	Port, Priority uint16
}

// StartNameServer starts a name server that knows no names, until the test ends.
func StartNameServer(t *testing.T) *NameServer {
	t.Helper()
	udp, tcp := samePort(t)
	s := &NameServer{addr: udp.LocalAddr().String(), queries: make(chan string, 100)}
	s.zone.Hosts, s.zone.Services = map[string][]string{}, map[string][]SRV{}
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

// Addr is where the server is, as host:port.
func (s *NameServer) Addr() string { return s.addr }

// Queries returns what is asked, as it comes: "A order.test.", say. Of what
// nobody reads the first hundred are kept.
func (s *NameServer) Queries() <-chan string { return s.queries }

// Change changes what is answered from now on.
func (s *NameServer) Change(change func(z *Zone)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.zone)
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

func (s *NameServer) serveUDP(c *net.UDPConn) {
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

func (s *NameServer) serveTCP(l net.Listener) {
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

func (s *NameServer) answer(query []byte, udp bool) []byte {
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
	case s.zone.Broken:
		r.RCode = dnsmessage.RCodeServerFailure
	case udp && s.zone.Truncate:
		r.Truncated = true
	case len(s.zone.Hosts[name]) == 0 && len(s.zone.Services[name]) == 0:
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
func (s *NameServer) records(q dnsmessage.Question) []dnsmessage.Resource {
	var out []dnsmessage.Resource
	add := func(t dnsmessage.Type, body dnsmessage.ResourceBody) {
		out = append(out, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Type: t, Class: dnsmessage.ClassINET, TTL: s.zone.TTL}, Body: body})
	}
	name := strings.ToLower(q.Name.String())
	switch q.Type {
	case dnsmessage.TypeA, dnsmessage.TypeAAAA:
		for _, a := range s.zone.Hosts[name] {
			ip := net.ParseIP(a)
			if v4 := ip.To4(); v4 != nil && q.Type == dnsmessage.TypeA {
				add(q.Type, &dnsmessage.AResource{A: [4]byte(v4)})
			} else if v4 == nil && q.Type == dnsmessage.TypeAAAA {
				add(q.Type, &dnsmessage.AAAAResource{AAAA: [16]byte(ip.To16())})
			}
		}
	case dnsmessage.TypeSRV:
		for _, r := range s.zone.Services[name] {
			add(q.Type, &dnsmessage.SRVResource{Priority: r.Priority, Weight: 1, Port: r.Port, Target: dnsmessage.MustNewName(r.Target)})
		}
	}
	return out
}
