package discovery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"time"
)

// How often names are looked up again.
const (
	minDNSWait = time.Second      // however short the TTL, and whatever hints come
	maxDNSWait = 30 * time.Second // however long the TTL
	dnsTimeout = 10 * time.Second // of one lookup, all names and tries
	dnsSpread  = 10               // a wait is up to a tenth longer, so that a fleet does not ask in step
)

// DNS resolves services through the Domain Name System: A and AAAA records with
// a port that is known, or SRV records that tell it (of these the ones of the
// best priority; weights are left to the balancer). A name that has both A and
// AAAA records is reached by the former, so that an endpoint is not counted
// twice. Names are looked up as the system does it (hosts file, search list,
// servers of resolv.conf), again when the shortest TTL of the answers has
// passed, at least every 30 s and at most every second, and on a hint. It is
// made by [ParseDNS] and safe for concurrent use.
type DNS struct {
	names    []name
	server   string
	min, max time.Duration // between lookups; zero: minDNSWait, maxDNSWait
}

// AnyService reports whether the services' names are part of what is looked up.
func (d *DNS) AnyService() bool {
	for _, n := range d.names {
		if !strings.Contains(n.host, variable) {
			return false
		}
	}
	return true
}

// Watch implements [Resolver].
func (d *DNS) Watch(ctx context.Context, service string, again <-chan struct{}, report func([]string, error)) {
	tell := Distinct(report)
	shortest, longest := orElse(d.min, minDNSWait), orElse(d.max, maxDNSWait)
	backoff := Backoff{First: shortest, Most: longest}
	for {
		addrs, ttl, err := d.lookup(ctx, service)
		if ctx.Err() != nil {
			return
		}
		tell(addrs, err)
		var wait time.Duration
		switch {
		case err != nil:
			wait = backoff.Next()
		case ttl == forever:
			<-ctx.Done()
			return
		default:
			backoff.Reset()
			wait = max(0, min(ttl, longest)-shortest)
			wait += rand.N(max(shortest, wait)/dnsSpread + 1)
		}
		if !pause(ctx, shortest, nil) || !pause(ctx, wait, again) {
			return
		}
	}
}

// Close implements [Discovery].
func (d *DNS) Close() error { return nil }

func orElse(d, other time.Duration) time.Duration {
	if d <= 0 {
		return other
	}
	return d
}

// lookup returns the addresses of all names, and how long they hold.
func (d *DNS) lookup(ctx context.Context, service string) ([]string, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, dnsTimeout)
	defer cancel()
	holds := &ttls{shortest: forever}
	resolver := &net.Resolver{PreferGo: true, StrictErrors: true, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		return dialDNS(ctx, network, orString(d.server, addr), holds)
	}}
	var all []string
	asked := false
	for _, n := range d.names {
		n = n.of(service)
		if n.literal() {
			all = append(all, n.String())
			continue
		}
		asked = true
		addrs, err := lookupName(ctx, resolver, n)
		if err != nil {
			return nil, 0, fmt.Errorf("look up %s: %w", n, err)
		}
		all = append(all, addrs...)
	}
	switch ttl := holds.get(); {
	case !asked:
		return all, forever, nil
	case ttl == forever: // the answer had no records, or came from a hosts file
		return all, 0, nil
	default:
		return all, ttl, nil
	}
}

func orString(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func lookupName(ctx context.Context, r *net.Resolver, n name) ([]string, error) {
	if n.port != "" {
		return lookupHost(ctx, r, n.host, n.port)
	}
	_, records, err := r.LookupSRV(ctx, "", "", n.host)
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []string
	for _, s := range records { // sorted by priority
		if s.Priority != records[0].Priority {
			break
		}
		addrs, err := lookupHost(ctx, r, s.Target, strconv.Itoa(int(s.Port)))
		if err != nil {
			return nil, err
		}
		all = append(all, addrs...)
	}
	return all, nil
}

func lookupHost(ctx context.Context, r *net.Resolver, host, port string) ([]string, error) {
	ips, err := r.LookupNetIP(ctx, "ip", host)
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var v4, v6 []string
	for _, ip := range ips {
		if ip = ip.Unmap(); ip.Is4() {
			v4 = append(v4, net.JoinHostPort(ip.String(), port))
		} else {
			v6 = append(v6, net.JoinHostPort(ip.String(), port))
		}
	}
	if len(v4) > 0 {
		return v4, nil
	}
	return v6, nil
}

// missing reports whether the name has no such records: nobody serves it now.
func missing(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}

// DNSOpener opens a [DNS] whose names have {service} in them, from a URL as
// [ParseDNS] reads it.
type DNSOpener struct{}

// Open implements [Opener]. It asks nothing yet.
func (DNSOpener) Open(_ context.Context, o OpenOptions) (Discovery, error) {
	d, err := ParseDNS(o.URL)
	if err != nil {
		return nil, err
	}
	if !d.AnyService() {
		return nil, fmt.Errorf("%q names no %s: every service would be reached there", o.URL, variable)
	}
	return d, nil
}
