package auth

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"
)

// TLSConfig says where the certificate of a process is.
type TLSConfig struct {
	// Cert is a file with the certificate of the process and the intermediate
	// ones, Key one with its private key, CA one with the certificates that are
	// trusted to name services: all in PEM, all required. Cert and Key may be the
	// same file. A key that everybody on the machine may read is refused.
	Cert, Key, CA string
	// Services are what the process runs: a certificate that does not name them
	// all is refused. It may name more.
	Services []string
	// Every is how often the files are looked at, at most, for new ones. Zero: 2 s.
	Every time.Duration
	// Report is told when the files have changed and cannot be used; what was
	// read before is used on. Nil: nobody is told.
	Report func(error)
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
}

// TLS is how the processes of a fleet talk to each other: TLS 1.3, each side
// with a certificate that names the services that it runs ([Identity]) and
// comes from a CA of the bundle. Names of hosts play no part.
//
// The files may be replaced at any time. New connections use what is there:
// to change the CA, put the new one beside the old one, give out certificates
// from the new one, take the old one away. Connections are made anew within half
// an hour (rpc.ServerConfig.MaxConnectionAge). It is safe for concurrent use.
type TLS struct {
	c     TLSConfig
	files reloaded[material]
}

// material is what the files hold.
type material struct {
	cert  *tls.Certificate
	roots *x509.CertPool
	id    Identity
}

// OpenTLS reads the files.
func OpenTLS(c TLSConfig) (*TLS, error) {
	if c.Cert == "" || c.Key == "" || c.CA == "" {
		return nil, errors.New("auth: TLS needs a certificate, its key and the certificates of the CA")
	}
	if c.Every == 0 {
		c.Every = 2 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	t := &TLS{c: c}
	t.files = reloaded[material]{load: t.load, paths: []string{c.Cert, c.Key, c.CA}, every: c.Every, now: c.Now, report: c.Report}
	if err := t.files.open(); err != nil {
		return nil, err
	}
	return t, nil
}

// Identity returns what the own certificate says.
func (t *TLS) Identity() Identity { return t.files.get().id }

// Server returns the configuration of a listener. Who connects must have a
// certificate of the fleet.
func (t *TLS) Server() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Time:                   t.c.Now,
		SessionTicketsDisabled: true, // every connection is held to the bundle of its day
		ClientAuth:             tls.RequireAnyClientCert,
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return t.files.get().cert, nil },
		VerifyConnection: func(s tls.ConnectionState) error {
			return t.verify(s, x509.ExtKeyUsageClientAuth, "")
		},
	}
}

// Client returns the configuration for connections to a service. Whoever
// answers must prove that it runs that service.
func (t *TLS) Client(service string) *tls.Config {
	return &tls.Config{
		MinVersion:           tls.VersionTLS13,
		Time:                 t.c.Now,
		ServerName:           service,
		InsecureSkipVerify:   true, // the names of hosts: VerifyConnection checks the certificate and the name of the service
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return t.files.get().cert, nil },
		VerifyConnection: func(s tls.ConnectionState) error {
			if service == "" {
				return errors.New("auth: it is not said which service is called")
			}
			return t.verify(s, x509.ExtKeyUsageServerAuth, service)
		},
	}
}

// verify believes the peer's certificate or not. Package tls has checked by
// then that the peer holds its key.
func (t *TLS) verify(s tls.ConnectionState, usage x509.ExtKeyUsage, service string) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("auth: the peer has no certificate")
	}
	m, leaf := t.files.get(), s.PeerCertificates[0]
	between := x509.NewCertPool()
	for _, c := range s.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: m.roots, Intermediates: between, CurrentTime: t.c.Now(), KeyUsages: []x509.ExtKeyUsage{usage},
	})
	if err != nil {
		return fmt.Errorf("auth: the peer's certificate: %w", err)
	}
	if leaf.IsCA {
		return errors.New("auth: the peer shows the certificate of a CA")
	}
	id, err := CertificateIdentity(leaf)
	switch {
	case err != nil:
		return err
	case id.Fleet != m.id.Fleet:
		return fmt.Errorf("auth: the peer is of the fleet %q, not of %q", id.Fleet, m.id.Fleet)
	case service != "" && !id.Has(service):
		return fmt.Errorf("auth: the peer is %s, not %s", id, ServiceURI(m.id.Fleet, service))
	}
	return nil
}

// load reads the files.
func (t *TLS) load() (*material, error) {
	if info, err := os.Stat(t.c.Key); err != nil {
		return nil, err
	} else if info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("auth: key file %s has mode %04o: everybody could be this process; chmod it to 0600", t.c.Key, info.Mode().Perm())
	}
	cert, err := tls.LoadX509KeyPair(t.c.Cert, t.c.Key)
	if err != nil {
		return nil, fmt.Errorf("auth: certificate %s with key %s: %w", t.c.Cert, t.c.Key, err)
	}
	id, err := CertificateIdentity(cert.Leaf)
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w", t.c.Cert, err)
	}
	for _, s := range t.c.Services {
		if !id.Has(s) {
			return nil, fmt.Errorf("auth: certificate %s names %s, and this process also runs %s: it needs one with %s", t.c.Cert, id, s, ServiceURI(id.Fleet, s))
		}
	}
	if now := t.c.Now(); now.After(cert.Leaf.NotAfter) {
		return nil, fmt.Errorf("auth: certificate %s ended %v", t.c.Cert, cert.Leaf.NotAfter)
	}
	text, err := os.ReadFile(t.c.CA)
	if err != nil {
		return nil, err
	}
	all, err := parseBundle(text)
	if err != nil {
		return nil, fmt.Errorf("auth: CA bundle %s: %w", t.c.CA, err)
	}
	roots := x509.NewCertPool()
	for _, c := range all {
		roots.AddCert(c)
	}
	return &material{cert: &cert, roots: roots, id: id}, nil
}

// parseBundle returns the certificates of a bundle, which are all of CAs.
func parseBundle(text []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		text = rest
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("it holds a PEM block %q", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		if !c.IsCA || !c.BasicConstraintsValid {
			return nil, fmt.Errorf("the certificate of %q is not of a CA", c.Subject)
		}
		all = append(all, c)
	}
	if len(bytes.TrimSpace(text)) > 0 {
		return nil, errors.New("it holds something that is not PEM")
	}
	if len(all) == 0 {
		return nil, errors.New("it holds no certificate")
	}
	return all, nil
}
