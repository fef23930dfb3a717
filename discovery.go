package argosy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/argosy-go/argosy/discovery"
	"github.com/argosy-go/argosy/rpc"
)

// withdrawTimeout bounds how long a drain waits for the discovery: where it is
// away, the registrations end by themselves.
const withdrawTimeout = 2 * time.Second

// openDiscovery opens what finds the services that run elsewhere, if it is set.
func (f *Fleet) openDiscovery(ctx context.Context) error {
	if f.set.Discovery == "" {
		return nil
	}
	opener, err := f.program.Engines.Discovery(f.set.Discovery)
	if err != nil {
		return &usageError{err}
	}
	d, err := opener.Open(ctx, discovery.OpenOptions{URL: f.set.Discovery, Log: f.tel.Logger("discovery")})
	if err != nil {
		return &usageError{fmt.Errorf("--discovery: %w", err)}
	}
	f.discovery = d
	f.onClose("close the discovery", func(context.Context) error { return d.Close() })
	return nil
}

// finds reports whether a service that does not run here can be reached: by its
// peer, or by the discovery.
func (f *Fleet) finds(peers map[string]string, service string) bool {
	return peers[service] != "" || f.set.Discovery != ""
}

// dial connects to a service that runs elsewhere: where its peer is, or else
// where the discovery finds it.
func (f *Fleet) dial(peers map[string]string, service string, o rpc.DialOptions) (grpc.ClientConnInterface, io.Closer, error) {
	o.Credentials = f.credentials(service)
	if peer := peers[service]; peer != "" {
		if err := f.checkPlaintext(service, peer); err != nil {
			return nil, nil, err
		}
		return rpc.Dial(peer, o)
	}
	o.Discovery = f.discovery
	return rpc.Dial(service, o)
}

// look returns who tells operators of the endpoints of a new connection.
func (f *Fleet) look(from, target string) *rpc.Endpoints {
	e := rpc.NewEndpoints(from, target, f.tel.Registry())
	f.endpoints = append(f.endpoints, e)
	return e
}

// announce registers the services of this process, where the discovery is one
// that can be told. They serve by now.
func (f *Fleet) announce(ctx context.Context) error {
	registrar, ok := f.discovery.(discovery.Registrar)
	if !ok {
		return nil
	}
	addr, err := f.advertised()
	if err != nil {
		return err
	}
	for _, s := range f.services {
		if len(s.Registrations()) == 0 {
			continue // it serves nothing that could be called
		}
		lease, err := registrar.Register(ctx, discovery.Registration{Service: s.Name(), Addr: addr})
		if err != nil {
			return fmt.Errorf("--discovery: %w", err)
		}
		f.leases = append(f.leases, lease)
	}
	return nil
}

// withdraw takes the services of this process out of the discovery.
func (f *Fleet) withdraw(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, withdrawTimeout)
	defer cancel()
	var errs []error
	for _, l := range f.leases {
		errs = append(errs, l.Withdraw(ctx))
	}
	f.leases = nil
	if err := errors.Join(errs...); err != nil {
		f.tel.Logger("discovery").WarnContext(ctx, "registrations were not withdrawn and end by themselves", "err", err)
	}
}

// advertised returns the address under which other processes reach the gRPC
// listener.
func (f *Fleet) advertised() (string, error) {
	host, port, err := net.SplitHostPort(f.lines.grpc.Addr().String())
	if err != nil {
		return "", fmt.Errorf("address of the gRPC listener: %w", err)
	}
	if set := f.set.Advertise; set != "" {
		if h, p, err := net.SplitHostPort(set); err == nil {
			return net.JoinHostPort(h, p), nil
		}
		return net.JoinHostPort(strings.Trim(set, "[]"), port), nil
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = ownAddress()
	}
	return net.JoinHostPort(host, port), nil
}

// ownAddress returns the first address of this machine that others can reach,
// of version 4 if there is one; the loopback address if it has none.
func ownAddress() string {
	best := ""
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return "127.0.0.1"
	}
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		switch {
		case !ok || !n.IP.IsGlobalUnicast():
		case n.IP.To4() != nil:
			return n.IP.String()
		case best == "":
			best = n.IP.String()
		}
	}
	if best == "" {
		return "127.0.0.1"
	}
	return best
}
