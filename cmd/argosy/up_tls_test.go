package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/argosy-go/argosy/auth"
)

// certified returns a fleet of the market with its certificates.
func certified(t *testing.T, w wishes) (*running, error) {
	t.Helper()
	units, err := planOf(t, "postgres", w)
	if err != nil {
		t.Fatal(err)
	}
	r := &running{program: &program{about: market("postgres")}, units: units}
	r.program.about.Data = t.TempDir()
	return r, r.certify(w)
}

func opened(t *testing.T, u unit) *auth.TLS {
	t.Helper()
	x, err := auth.OpenTLS(auth.TLSConfig{Cert: u.argument("tls-cert"), Key: u.argument("tls-key"), CA: u.argument("tls-ca")})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestEachProcessHasACertificateForItsServiceAlone(t *testing.T) {
	r, err := certified(t, wishes{http: ":8080", replicas: map[string]int{"order": 2}})
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range r.units {
		if got := opened(t, u).Identity().String(); got != "spiffe://market/"+u.Service {
			t.Errorf("%s has a certificate for %s", u.Name, got)
		}
	}
	dir := filepath.Join(r.program.about.Data, "tls")
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory has mode %v, %v", info.Mode(), err)
	}
	all, err := os.ReadDir(dir)
	if err != nil || len(all) != len(r.units)+1 {
		t.Errorf("there are %v, %v", all, err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "ca.crt")); err != nil || strings.Contains(string(text), "PRIVATE") {
		t.Errorf("beside the CA there is its key: %v", err)
	}
}

func TestFleetsThatHaveCertificatesOrWantNoneGetNone(t *testing.T) {
	one := wishes{http: ":8080", oneProcess: true}
	if r, err := certified(t, one); err != nil || r.certificates != nil {
		t.Errorf("a single process: %v, %v", r.certificates, err)
	}
	r := &running{program: &program{about: market("postgres")}}
	r.program.about.TLS = "insecure"
	if err := r.certify(wishes{peers: map[string]string{"payment": "10.0.0.7:9090"}}); err != nil || r.certificates != nil {
		t.Errorf("one that talks in the clear: %v, %v", r.certificates, err)
	}
	r.program.about.TLS = ""
	if err := r.certify(wishes{peers: map[string]string{"payment": "10.0.0.7:9090"}}); err == nil || !strings.Contains(err.Error(), "--tls-ca") {
		t.Errorf("peers that cannot trust it: %v", err)
	}
}

func TestCertificatesAreRenewedBeforeTheyEndAndTrustedBeforeTheyAreShown(t *testing.T) {
	r, err := certified(t, wishes{http: ":8080"})
	if err != nil {
		t.Fatal(err)
	}
	order := r.units[slices.IndexFunc(r.units, func(u unit) bool { return u.Service == "order" })]
	read := func(name string) []byte {
		t.Helper()
		text, err := os.ReadFile(order.argument(name))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	synctest.Test(t, func(t *testing.T) {
		if err := r.certify(wishes{http: ":8080"}); err != nil { // on the clock of the bubble
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			r.certificates.keep(ctx, func(err error) { t.Error(err) })
		}()
		for range 3 { // weeks
			bundle, leaf, due := read("tls-ca"), read("tls-cert"), r.certificates.ca.RenewAt()
			<-time.After(time.Until(due) - time.Second)
			for synctest.Wait(); string(read("tls-ca")) == string(bundle); synctest.Wait() {
				if time.Since(due) > 2*lookEvery {
					t.Fatal("it is not renewed")
				}
				<-time.After(time.Second)
			}
			if time.Now().Before(due) {
				t.Error("renewed too early")
			}
			<-time.After(trustedAfter - 2*time.Second)
			synctest.Wait()
			if string(read("tls-cert")) != string(leaf) {
				t.Error("what is not trusted yet is shown")
			}
			<-time.After(3 * time.Second)
			synctest.Wait()
			block, _ := pem.Decode(read("tls-cert"))
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil || time.Until(c.NotAfter) < 6*24*time.Hour {
				t.Fatalf("the certificate ends in %v, %v", time.Until(c.NotAfter), err)
			}
		}
		cancel()
		<-ended
	})
}

func TestTheNameOfAProgramMakesATrustDomain(t *testing.T) {
	for name, want := range map[string]string{"shop": "shop", "My Shop": "my-shop", "läden": "l-den", "a.b_c-2": "a.b_c-2"} {
		if got := trustDomain(name); got != want {
			t.Errorf("%q makes %q, want %q", name, got, want)
		}
		if _, err := auth.NewLocalCA(auth.LocalCAConfig{Fleet: trustDomain(name)}); err != nil {
			t.Error(err)
		}
	}
}
