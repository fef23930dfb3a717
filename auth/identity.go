package auth

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The form of the names in certificates, after the SPIFFE ID standard: a URI
// with the fleet as its trust domain and the service as its path. A process
// that runs several services has a name for each, where SPIFFE has one.
const (
	nameScheme = "spiffe://"
	maxFleet   = 255
	maxService = 40
	maxNames   = 100
)

// Identity is what a certificate proves: a process of a fleet, which runs these
// services. The zero value is nobody. It is not changed once made.
type Identity struct {
	// Fleet is the trust domain.
	Fleet string
	// Services are what the process runs; never empty for somebody.
	Services []string
}

// Has reports whether the process runs the service.
func (i Identity) Has(service string) bool { return slices.Contains(i.Services, service) }

// String returns the names, separated by commas.
func (i Identity) String() string {
	names := make([]string, len(i.Services))
	for n, s := range i.Services {
		names[n] = ServiceURI(i.Fleet, s)
	}
	return strings.Join(names, ",")
}

// ServiceURI returns the name of a service in certificates, as in "spiffe://shop/order".
func ServiceURI(fleet, service string) string { return nameScheme + fleet + "/" + service }

// ParseServiceURI returns the fleet and the service that a name of a certificate
// is for. There is one spelling of each: no port, no user, no query, no
// encoded character, no second step in the path.
func ParseServiceURI(name string) (fleet, service string, err error) {
	rest, ok := strings.CutPrefix(name, nameScheme)
	if !ok {
		return "", "", errors.New("auth: the name of a service begins with " + nameScheme)
	}
	fleet, service, ok = strings.Cut(rest, "/")
	if !ok || !isFleet(fleet) || !isService(service) {
		return "", "", errors.New("auth: the name of a service is " + nameScheme + "<fleet>/<service>, in lower case")
	}
	return fleet, service, nil
}

// isFleet reports whether s can be a trust domain: section 2.1 of the SPIFFE ID standard.
func isFleet(s string) bool {
	return s != "" && len(s) <= maxFleet && !strings.ContainsFunc(s, func(r rune) bool {
		return !isLowerOrDigit(r) && r != '.' && r != '-' && r != '_'
	})
}

// isService reports whether s can be the name of a service: words of lower case
// letters and digits with single hyphens between them, a letter first.
func isService(s string) bool {
	if s == "" || len(s) > maxService || s[0] < 'a' || s[0] > 'z' || s[len(s)-1] == '-' || strings.Contains(s, "--") {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return !isLowerOrDigit(r) && r != '-' })
}

func isLowerOrDigit(r rune) bool { return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' }

// CertificateIdentity returns what the names in a certificate say. Whether the
// certificate is to be believed is another question: see [TLS]. Every URI in it
// must be a name of a service, and all of one fleet.
func CertificateIdentity(c *x509.Certificate) (Identity, error) {
	switch {
	case len(c.URIs) == 0:
		return Identity{}, errors.New("auth: the certificate names no service: it needs a URI " + nameScheme + "<fleet>/<service> among its subject alternative names")
	case len(c.URIs) > maxNames:
		return Identity{}, fmt.Errorf("auth: the certificate has %d names, the limit is %d", len(c.URIs), maxNames)
	}
	var id Identity
	for _, u := range c.URIs {
		fleet, service, err := ParseServiceURI(u.String())
		if err != nil {
			return Identity{}, err
		}
		if id.Fleet != "" && id.Fleet != fleet {
			return Identity{}, errors.New("auth: the certificate names services of more than one fleet")
		}
		id.Fleet = fleet
		if !id.Has(service) {
			id.Services = append(id.Services, service)
		}
	}
	return id, nil
}
