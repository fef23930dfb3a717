package auth

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func newTestCA(t testing.TB, fleet string, c *clock) *LocalCA {
	t.Helper()
	ca, err := NewLocalCA(LocalCAConfig{Fleet: fleet, Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func certificateOf(t testing.TB, text []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(text)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func write(t testing.TB, ca *LocalCA, dir, name string, services ...string) TLSFiles {
	t.Helper()
	files, err := ca.Write(dir, name, services...)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// apart puts the certificate and its key into files of their own, as others
// than a LocalCA give them.
func apart(t testing.TB, f TLSFiles) TLSFiles {
	t.Helper()
	text, err := os.ReadFile(f.Cert)
	if err != nil {
		t.Fatal(err)
	}
	cert, key := pem.Decode(text)
	f.Cert, f.Key = f.Cert+".crt", f.Cert+".key"
	for path, text := range map[string][]byte{f.Cert: pem.EncodeToMemory(cert), f.Key: key} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func openTLS(t testing.TB, f TLSFiles, c *clock) *TLS {
	t.Helper()
	x, err := OpenTLS(TLSConfig{Cert: f.Cert, Key: f.Key, CA: f.CA, Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// shake makes a connection between the two and returns what each side says of it.
func shake(t testing.TB, server, client *tls.Config) (onServer, onClient error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	said := make(chan error, 1)
	go func() {
		a, err := l.Accept()
		if err != nil {
			said <- err
			return
		}
		defer a.Close()
		s := tls.Server(a, server)
		if err = s.Handshake(); err == nil {
			_, err = s.Write([]byte("x"))
		}
		said <- err
	}()
	b, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	c := tls.Client(b, client)
	onClient = c.Handshake()
	if onClient == nil { // in TLS 1.3 a client learns of its own refusal when it reads
		_, onClient = c.Read(make([]byte, 1))
	}
	return <-said, onClient
}

func TestTwoProcessesOfAFleetTrustEachOther(t *testing.T) {
	c, dir := newClock(), t.TempDir()
	ca := newTestCA(t, "shop", c)
	order := openTLS(t, write(t, ca, dir, "order-1", "order"), c)
	rest := openTLS(t, write(t, ca, dir, "rest-1", "stock", "payment"), c)
	for _, service := range []string{"stock", "payment"} {
		if s, c := shake(t, rest.Server(), order.Client(service)); s != nil || c != nil {
			t.Errorf("%s: the server says %v, the client %v", service, s, c)
		}
	}
	if got := rest.Identity().String(); got != "spiffe://shop/stock,spiffe://shop/payment" {
		t.Errorf("the certificate names %s", got)
	}
}

// signedBy returns a certificate which only the test would make, from the CA.
func signedBy(t testing.TB, ca *LocalCA, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse("spiffe://shop/stock")
	if err != nil {
		t.Fatal(err)
	}
	now := ca.c.Now()
	x := &x509.Certificate{
		SerialNumber: big.NewInt(7), NotBefore: now.Add(-time.Minute), NotAfter: now.Add(time.Hour), URIs: []*url.URL{u},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	change(x)
	der, err := x509.CreateCertificate(rand.Reader, x, ca.cert, key.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func parsed(t testing.TB, name string) *url.URL {
	t.Helper()
	u, err := url.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestPeersThatAreNotOfTheFleetAreRefusedByBothSides(t *testing.T) {
	c := newClock()
	ca := newTestCA(t, "shop", c)
	us := openTLS(t, write(t, ca, t.TempDir(), "us", "stock"), c)
	for name, peer := range map[string]struct {
		cert tls.Certificate
		want string
	}{
		"another CA of the same fleet":     {signedBy(t, newTestCA(t, "shop", c), func(*x509.Certificate) {}), "unknown authority"},
		"another fleet from the same CA":   {signedBy(t, ca, func(x *x509.Certificate) { x.URIs[0] = parsed(t, "spiffe://bank/stock") }), `of the fleet "bank"`},
		"a certificate that has ended":     {signedBy(t, ca, func(x *x509.Certificate) { x.NotAfter = c.Now().Add(-time.Second) }), "expired or is not yet valid"},
		"one that is not good yet":         {signedBy(t, ca, func(x *x509.Certificate) { x.NotBefore = c.Now().Add(time.Second) }), "expired or is not yet valid"},
		"one without a name":               {signedBy(t, ca, func(x *x509.Certificate) { x.URIs, x.DNSNames = nil, []string{"stock"} }), "names no service"},
		"one with a common name only":      {signedBy(t, ca, func(x *x509.Certificate) { x.URIs, x.Subject.CommonName = nil, "stock" }), "names no service"},
		"a name that is spelt differently": {signedBy(t, ca, func(x *x509.Certificate) { x.URIs[0] = parsed(t, "spiffe://shop/%73tock") }), "in lower case"},
		"names of two fleets":              {signedBy(t, ca, func(x *x509.Certificate) { x.URIs = append(x.URIs, parsed(t, "spiffe://bank/stock")) }), "more than one fleet"},
		"one for signing mail":             {signedBy(t, ca, func(x *x509.Certificate) { x.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection} }), "incompatible key usage"},
		"the certificate of a CA": {signedBy(t, ca, func(x *x509.Certificate) {
			x.IsCA, x.BasicConstraintsValid = true, true
		}), "certificate of a CA"},
	} {
		t.Run(name, func(t *testing.T) {
			open := &tls.Config{Certificates: []tls.Certificate{peer.cert}, InsecureSkipVerify: true, ClientAuth: tls.RequestClientCert}
			if s, _ := shake(t, us.Server(), open); s == nil || !strings.Contains(s.Error(), peer.want) {
				t.Errorf("as a client: our server says %v, want %q", s, peer.want)
			}
			if _, c := shake(t, open, us.Client("stock")); c == nil || !strings.Contains(c.Error(), peer.want) {
				t.Errorf("as a server: our client says %v, want %q", c, peer.want)
			}
		})
	}
}

func TestAPeerIsHeldToItsServiceItsUseAndItsProtocol(t *testing.T) {
	c := newClock()
	ca := newTestCA(t, "shop", c)
	us := openTLS(t, write(t, ca, t.TempDir(), "us", "stock"), c)
	any := signedBy(t, ca, func(*x509.Certificate) {})
	forServers := signedBy(t, ca, func(x *x509.Certificate) { x.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	forClients := signedBy(t, ca, func(x *x509.Certificate) { x.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
	old := func(certs ...tls.Certificate) *tls.Config {
		return &tls.Config{Certificates: certs, InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}
	}
	now := func(certs ...tls.Certificate) *tls.Config {
		return &tls.Config{Certificates: certs, InsecureSkipVerify: true}
	}
	for name, x := range map[string]struct {
		server, client *tls.Config
		want           string
	}{
		"a server of another service":         {us.Server(), us.Client("payment"), "the peer is spiffe://shop/stock, not spiffe://shop/payment"},
		"a server, when no service is called": {us.Server(), us.Client(""), "not said which service"},
		"a client without a certificate":      {us.Server(), now(), "didn't provide a certificate"},
		"a client with one for servers only":  {us.Server(), now(forServers), "incompatible key usage"},
		"a server with one for clients only":  {now(forClients), us.Client("stock"), "incompatible key usage"},
		"a client of TLS 1.2":                 {us.Server(), old(any), "unsupported versions"},
		"a server of TLS 1.2":                 {old(any), us.Client("stock"), "protocol version"},
	} {
		t.Run(name, func(t *testing.T) {
			s, c := shake(t, x.server, x.client)
			if err := errors.Join(s, c); err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("the server says %v, the client %v; want %q", s, c, x.want)
			}
		})
	}
}

func TestTheCAIsChangedWithoutARestart(t *testing.T) {
	c, dir := newClock(), t.TempDir()
	first, second := newTestCA(t, "shop", c), newTestCA(t, "shop", c)
	order, stock := write(t, first, dir, "order", "order"), write(t, first, dir, "stock", "stock")
	a, b := openTLS(t, order, c), openTLS(t, stock, c)
	check := func(step string, good bool) {
		t.Helper()
		c.advance(3 * time.Second) // they are looked at again
		s, cl := shake(t, b.Server(), a.Client("stock"))
		if (s == nil && cl == nil) != good {
			t.Errorf("%s: the server says %v, the client %v", step, s, cl)
		}
	}
	check("both from the first CA", true)
	write(t, second, dir, "stock", "stock") // the bundle holds both now
	check("one from each", true)
	if text, err := os.ReadFile(stock.CA); err != nil || bytes.Count(text, []byte("BEGIN CERTIFICATE")) != 2 {
		t.Fatalf("the bundle is %s, %v", text, err)
	}
	write(t, second, dir, "order", "order")
	check("both from the second", true)
	if err := os.WriteFile(order.CA, second.PEM(), 0o644); err != nil {
		t.Fatal(err)
	}
	check("the first is taken away", true)
	if err := os.WriteFile(order.CA, first.PEM(), 0o644); err != nil {
		t.Fatal(err)
	}
	check("certificates from a CA that is trusted no more", false)
}

func TestFilesThatAreNoGoodAreToldOnceAndTheOldOnesStay(t *testing.T) {
	c := newClock()
	ca := newTestCA(t, "shop", c)
	f := apart(t, write(t, ca, t.TempDir(), "stock", "stock"))
	var told []error
	x, err := OpenTLS(TLSConfig{Cert: f.Cert, Key: f.Key, CA: f.CA, Now: c.Now, Report: func(err error) { told = append(told, err) }})
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := ca.Issue("stock", "payment")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.Cert, cert, 0o644); err != nil { // its key is not there yet
		t.Fatal(err)
	}
	for range 3 {
		c.advance(3 * time.Second)
		if x.Identity().Has("payment") {
			t.Fatal("a certificate is used without its key")
		}
	}
	if len(told) != 1 || !strings.Contains(told[0].Error(), "does not match") {
		t.Errorf("told %v", told)
	}
	if err := os.WriteFile(f.Key, key, 0o600); err != nil {
		t.Fatal(err)
	}
	if x.Identity().Has("payment") {
		t.Error("the files are looked at more often than they should be")
	}
	c.advance(3 * time.Second)
	if !x.Identity().Has("payment") {
		t.Error("the new certificate is not used")
	}
	if err := os.Remove(f.CA); err != nil {
		t.Fatal(err)
	}
	c.advance(3 * time.Second)
	if !x.Identity().Has("payment") || len(told) != 2 {
		t.Errorf("without the bundle: %s, told %v", x.Identity(), told)
	}
}

func TestTLSFilesThatAreRefusedAtTheStart(t *testing.T) {
	c := newClock()
	ca := newTestCA(t, "shop", c)
	edit := func(path func(TLSFiles) string, text []byte) func(testing.TB, TLSFiles) {
		return func(t testing.TB, f TLSFiles) {
			if err := os.WriteFile(path(f), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	cert := func(f TLSFiles) string { return f.Cert }
	bundle := func(f TLSFiles) string { return f.CA }
	leaf, _, err := ca.Issue("stock")
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		spoil func(testing.TB, TLSFiles)
		want  string
		runs  []string
	}{
		"a key that everybody may read": {spoil: func(t testing.TB, f TLSFiles) {
			if err := os.Chmod(f.Key, 0o644); err != nil {
				t.Fatal(err)
			}
		}, want: "mode 0644"},
		"no key": {spoil: func(t testing.TB, f TLSFiles) {
			if err := os.Remove(f.Key); err != nil {
				t.Fatal(err)
			}
		}, want: "no such file"},
		"one for another service":          {spoil: func(testing.TB, TLSFiles) {}, want: "it needs one with spiffe://shop/payment", runs: []string{"stock", "payment"}},
		"a certificate of another key":     {spoil: edit(cert, leaf), want: "does not match"},
		"an empty certificate":             {spoil: edit(cert, nil), want: "failed to find any PEM"},
		"an empty bundle":                  {spoil: edit(bundle, nil), want: "holds no certificate"},
		"a bundle that ends in the middle": {spoil: edit(bundle, ca.PEM()[:100]), want: "not PEM"},
		"a bundle with a process's own":    {spoil: edit(bundle, append(ca.PEM(), leaf...)), want: "not of a CA"},
		"a bundle with a key":              {spoil: edit(bundle, pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: []byte("x")})), want: `a PEM block "PRIVATE KEY"`},
		"a certificate that has ended":     {spoil: func(testing.TB, TLSFiles) { c.advance(8 * 24 * time.Hour) }, want: "ended"},
	} {
		t.Run(name, func(t *testing.T) {
			begun := c.at.Load()
			defer c.at.Store(begun)
			f := apart(t, write(t, ca, t.TempDir(), "stock", "stock"))
			x.spoil(t, f)
			_, err := OpenTLS(TLSConfig{Cert: f.Cert, Key: f.Key, CA: f.CA, Services: x.runs, Now: c.Now})
			if err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("got %v, want %q", err, x.want)
			}
		})
	}
	if _, err := OpenTLS(TLSConfig{Cert: "a", Key: "b"}); err == nil {
		t.Error("no CA is needed")
	}
}

func TestALocalCASignsForServicesOnly(t *testing.T) {
	ca := newTestCA(t, "shop", newClock())
	for _, services := range [][]string{nil, {""}, {"Order"}, {"a/b"}, {"order", "../x"}, make([]string, maxNames+1)} {
		if _, _, err := ca.Issue(services...); err == nil {
			t.Errorf("it signs for %q", services)
		}
	}
	for _, name := range []string{"", "a/b", "../a"} {
		if _, err := ca.Write(t.TempDir(), name, "order"); err == nil {
			t.Errorf("it writes the files of %q", name)
		}
	}
	if _, err := NewLocalCA(LocalCAConfig{Fleet: "My Shop"}); err == nil {
		t.Error("any text is a fleet")
	}
	dir := filepath.Join(t.TempDir(), "tls")
	f := write(t, ca, dir, "order-1", "order")
	info, err := os.Stat(f.Key)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key has mode %v, %v", info.Mode(), err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
		t.Errorf("there are %v, %v", left, err)
	}
}
