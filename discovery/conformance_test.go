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
				s := discoverytest.StartNameServer(t)
				s.Change(func(z *discoverytest.Zone) { z.TTL = c.ttl })
				return discoverytest.Kit{
					Discovery: dns(t, s, c.name).Between(5*time.Millisecond, time.Hour),
					Hinted:    c.hinted,
					Publish:   func(service string, addrs ...string) { s.Change(publish(service, addrs)) },
					Break: func(*testing.T) func() {
						s.Change(func(z *discoverytest.Zone) { z.Broken = true })
						return func() { s.Change(func(z *discoverytest.Zone) { z.Broken = false }) }
					},
				}
			})
		})
	}
}

// publish makes the SRV records of a service: each address is a host of its own.
func publish(service string, addrs []string) func(z *discoverytest.Zone) {
	return func(z *discoverytest.Zone) {
		name := service + ".test."
		z.Services[name] = nil
		for _, a := range addrs {
			addr, err := net.ResolveTCPAddr("tcp", a)
			if err != nil {
				panic(err)
			}
			host := "host-" + addr.IP.String() + ".test."
			z.Hosts[host] = []string{addr.IP.String()}
			z.Services[name] = append(z.Services[name], discoverytest.SRV{Target: host, Port: uint16(addr.Port)})
		}
	}
}

// dns returns a resolver that asks the server.
func dns(t *testing.T, s *discoverytest.NameServer, name string) *discovery.DNS {
	t.Helper()
	d, err := discovery.ParseDNS("dns://" + s.Addr() + "/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
