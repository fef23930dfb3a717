package discovery

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// variable stands in a name for the service that is asked for.
const variable = "{service}"

// dnsPort is the port of a name server whose address names none.
const dnsPort = "53"

// name is one place to look: a host with a port, or the name of SRV records.
type name struct {
	host string
	port string // empty: SRV records tell
}

func (n name) String() string {
	if n.port == "" {
		return n.host
	}
	return net.JoinHostPort(n.host, n.port)
}

// of puts the service into the name.
func (n name) of(service string) name {
	return name{strings.ReplaceAll(n.host, variable, service), n.port}
}

// literal reports whether the name is an address already.
func (n name) literal() bool {
	_, err := netip.ParseAddr(n.host)
	return err == nil
}

// ParseDNS reads where services are reached, by DNS or by address:
//
//	10.0.0.1:9090|10.0.0.2:9090          addresses, which are not looked up
//	order.shop.svc:9090                  the addresses of a name, with this port
//	dns:///order.shop.svc:9090           the same
//	dns:///_grpc._tcp.order.shop.svc     SRV records (RFC 2782): hosts and ports
//	dns://10.0.0.10/order.shop.svc:9090  asking this name server
//	dns:///{service}.shop.svc:9090       for any service, by its name
//	dns:                                 {service}:9090
func ParseDNS(target string) (*DNS, error) {
	c, err := parseTarget(target)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", target, err)
	}
	return &DNS{names: c.names, server: c.server}, nil
}

// target is what ParseDNS read.
type target struct {
	server string
	names  []name
}

func parseTarget(s string) (t target, err error) {
	rest, isURL := strings.CutPrefix(s, "dns:")
	if isURL {
		if at, ok := strings.CutPrefix(rest, "//"); ok {
			var server string
			server, rest, _ = strings.Cut(at, "/")
			if t.server, err = parseServer(server); err != nil {
				return t, err
			}
		}
		if rest == "" {
			rest = variable + ":9090"
		}
	}
	for part := range strings.SplitSeq(rest, "|") {
		n, err := parseName(part, isURL)
		if err != nil {
			return t, err
		}
		t.names = append(t.names, n)
	}
	return t, nil
}

// parseServer reads the address of a name server; empty is the system's.
func parseServer(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = strings.Trim(s, "[]"), dnsPort
	}
	if _, err := netip.ParseAddr(host); err != nil || !goodPort(port) {
		return "", fmt.Errorf("the name server %q is not an address, as in 10.0.0.10 or 10.0.0.10:53", s)
	}
	return net.JoinHostPort(host, port), nil
}

// parseName reads host:port, or the name of SRV records where these are allowed.
func parseName(s string, srv bool) (name, error) {
	if strings.Contains(s, ":") || !srv {
		host, port, err := net.SplitHostPort(s)
		if err != nil || !goodHost(host) || !goodPort(port) {
			return name{}, fmt.Errorf("%q is not host:port", s)
		}
		return name{host, port}, nil
	}
	if !goodHost(s) {
		return name{}, fmt.Errorf("%q is neither host:port nor a name", s)
	}
	if n := (name{host: s}); n.literal() {
		return name{}, fmt.Errorf("the address %s needs a port", s)
	}
	return name{host: s}, nil
}

func goodPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// goodHost reports whether s is an address, or can be a name of DNS once a
// service is put in.
func goodHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	s = strings.TrimSuffix(strings.ReplaceAll(s, variable, "s"), ".")
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, notOfLabel) {
			return false
		}
	}
	return true
}

func notOfLabel(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
}
