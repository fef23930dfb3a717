package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// clockSkew is how long before it was made a certificate is good already.
const clockSkew = time.Minute

// LocalCAConfig configures a [LocalCA].
type LocalCAConfig struct {
	// Fleet is the trust domain. Required: lower case letters, digits, and ".", "-", "_".
	Fleet string
	// Life is how long the CA and what it signs are good. Zero: 7 days.
	Life time.Duration
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
}

// LocalCA gives certificates to the processes of a fleet on one machine. Its
// key is in memory only: nobody can sign with it once the program has ended. It
// is safe for concurrent use.
type LocalCA struct {
	c    LocalCAConfig
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

// NewLocalCA makes a CA.
func NewLocalCA(c LocalCAConfig) (*LocalCA, error) {
	if !isFleet(c.Fleet) {
		return nil, fmt.Errorf("auth: %q cannot be the fleet of certificates: use lower case letters, digits, dots, hyphens and underscores", c.Fleet)
	}
	if c.Life == 0 {
		c.Life = 7 * 24 * time.Hour
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := c.Now()
	t := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "Local CA of " + c.Fleet + " " + rand.Text()[:6]},
		NotBefore: now.Add(-clockSkew), NotAfter: now.Add(c.Life),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &LocalCA{c, key, cert}, nil
}

// Ends returns when the CA and all that it signed end.
func (ca *LocalCA) Ends() time.Time { return ca.cert.NotAfter }

// RenewAt returns when a new CA should take over: after two thirds of its life.
func (ca *LocalCA) RenewAt() time.Time { return ca.Ends().Add(-ca.c.Life / 3) }

// PEM returns the certificate of the CA.
func (ca *LocalCA) PEM() []byte { return certificatePEM(ca.cert.Raw) }

// Issue makes a certificate for a process that runs the services, and its key,
// both in PEM.
func (ca *LocalCA) Issue(services ...string) (cert, key []byte, err error) {
	if len(services) == 0 || len(services) > maxNames {
		return nil, nil, fmt.Errorf("auth: a certificate is for 1 to %d services, not for %d", maxNames, len(services))
	}
	t := &x509.Certificate{
		NotBefore: ca.cert.NotBefore, NotAfter: ca.cert.NotAfter,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:    []string{"localhost"}, // for clients of other makes, which go by the host
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	for _, s := range services {
		if !isService(s) {
			return nil, nil, fmt.Errorf("auth: %q cannot be a service", s)
		}
		u, err := url.Parse(ServiceURI(ca.c.Fleet, s))
		if err != nil {
			return nil, nil, err
		}
		t.URIs = append(t.URIs, u)
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, t, ca.cert, private.Public(), ca.key)
	if err != nil {
		return nil, nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return certificatePEM(der), pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: secret}), nil
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// TLSFiles are where the certificate of a process is: for [TLSConfig], and for
// the settings --tls-cert, --tls-key and --tls-ca.
type TLSFiles struct{ Cert, Key, CA string }

// LocalFiles returns where [LocalCA.Write] puts the certificate of the process.
func LocalFiles(dir, name string) TLSFiles {
	file := filepath.Join(dir, name+".pem")
	return TLSFiles{Cert: file, Key: file, CA: bundleFile(dir)}
}

// Write makes a certificate for the process called name, which runs the
// services, and writes it to the directory with its key, as name.pem: in one
// file, so that nobody ever reads the one without the other. The bundle that it
// is to be believed by, ca.crt, is as [LocalCA.Trust] leaves it.
func (ca *LocalCA) Write(dir, name string, services ...string) (TLSFiles, error) {
	f := LocalFiles(dir, name)
	if name == "" || filepath.Base(name) != name {
		return f, fmt.Errorf("auth: %q cannot be the name of a certificate's file", name)
	}
	cert, key, err := ca.Issue(services...)
	if err != nil {
		return f, err
	}
	if err := ca.Trust(dir); err != nil {
		return f, err
	}
	return f, replaceFile(f.Cert, append(cert, key...), 0o600)
}

// Trust adds the CA to the bundle of the directory, ca.crt, which the processes
// of the fleet share. CAs that are in it already and have not ended stay, so
// that processes which have their certificates from those are believed until
// they have new ones. Where processes run, it comes well before the first Write
// of a new CA (TLSConfig.Every): what they all trust is then shown to them. The
// file is replaced as a whole; calls for one directory must not run side by side.
func (ca *LocalCA) Trust(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	bundle, err := ca.bundle(bundleFile(dir))
	if err != nil {
		return err
	}
	return replaceFile(bundleFile(dir), bundle, 0o644)
}

func bundleFile(dir string) string { return filepath.Join(dir, "ca.crt") }

// bundle returns the CA before those of the file that are still good.
func (ca *LocalCA) bundle(path string) ([]byte, error) {
	all := ca.PEM()
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return nil, err
	}
	others, err := parseBundle(text)
	if err != nil {
		return nil, fmt.Errorf("auth: CA bundle %s: %w", path, err)
	}
	for _, c := range others {
		if !c.Equal(ca.cert) && ca.c.Now().Before(c.NotAfter) {
			all = append(all, certificatePEM(c.Raw)...)
		}
	}
	return all, nil
}

// replaceFile puts a file in place as a whole.
func replaceFile(path string, text []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
