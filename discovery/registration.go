package discovery

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// DefaultTTL is how long a registration outlives its process.
const DefaultTTL = 10 * time.Second

// Registration is one address of one service.
type Registration struct {
	// Service is the name: letters, digits, "-", "_" and ".". Required.
	Service string
	// Addr is where it is reached, as host:port. Required.
	Addr string
	// TTL is how long the registration outlives its process. Zero: 10 s.
	// Adapters may round it up to what their source can do.
	TTL time.Duration
}

// Lifetime returns the time to live, or its default.
func (r Registration) Lifetime() time.Duration {
	if r.TTL <= 0 {
		return DefaultTTL
	}
	return r.TTL
}

// Check tells what is wrong with a registration. Adapters call it first.
func (r Registration) Check() error {
	if r.Service == "" || strings.ContainsFunc(r.Service, func(c rune) bool { return c != '.' && notOfLabel(c) }) {
		return fmt.Errorf("register %q: the name of a service has letters, digits, and -, _ and . between them", r.Service)
	}
	host, port, err := net.SplitHostPort(r.Addr)
	if err == nil && (host == "" || !goodPort(port)) {
		err = errors.New("host and port are needed")
	}
	if err != nil {
		return fmt.Errorf("register %s at %q: %w", r.Service, r.Addr, err)
	}
	return nil
}
