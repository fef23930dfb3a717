package discovery_test

import (
	"net"
	"testing"
	"time"

	"github.com/argosy-go/argosy/discovery"
	"github.com/argosy-go/argosy/discovery/discoverytest"
)

func TestTheTableKeepsTheContract(t *testing.T) {
	discoverytest.Run(t, func(t *testing.T) discoverytest.Kit {
		table := discovery.NewTable(nil)
		return discoverytest.Kit{Discovery: table, Publish: table.Set}
	})
}

func TestTheTableKeepsTheContractByRegistrations(t *testing.T) {
	discoverytest.Run(t, func(t *testing.T) discoverytest.Kit {
		return discoverytest.Kit{Discovery: &discovery.Table{}}
	})
}

func TestDNSKeepsTheContract(t *testing.T) {
	for kind, c := range map[string]struct {
		name   string
		hinted bool
		ttl    uint32
	}{
		"SRV records, on a hint":    {"{service}.test.", true, 3600},
		"SRV records, by their TTL": {"{service}.test.", false, 0},
	} {
		t.Run(kind, func(t *testing.T) {
			discoverytest.Run(t, func(t *testing.T) discoverytest.Kit {
				s := startNameServer(t)
				s.set(func() { s.ttl = c.ttl })
				return discoverytest.Kit{
					Discovery: dns(t, s, c.name).Between(5*time.Millisecond, time.Hour),
					Hinted:    c.hinted,
					Publish:   s.publish,
					Break: func(*testing.T) func() {
						s.set(func() { s.broken = true })
						return func() { s.set(func() { s.broken = false }) }
					},
				}
			})
		})
	}
}

// publish makes the SRV records of a service: each address is a host of its own.
func (s *nameServer) publish(service string, addrs ...string) {
	s.set(func() {
		name := service + ".test."
		s.services[name] = nil
		for _, a := range addrs {
			addr, err := net.ResolveTCPAddr("tcp", a)
			if err != nil {
				panic(err)
			}
			host := "host-" + addr.IP.String() + ".test."
			s.hosts[host] = []string{addr.IP.String()}
			s.services[name] = append(s.services[name], srv{target: host, port: uint16(addr.Port)})
		}
	})
}

// dns returns a resolver that asks the server.
func dns(t *testing.T, s *nameServer, name string) *discovery.DNS {
	t.Helper()
	d, err := discovery.ParseDNS("dns://" + s.addr + "/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
