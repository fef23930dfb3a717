package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/argosy-go/argosy/auth"
)

const (
	// lookEvery is how often the clock on the wall is asked whether certificates
	// are due: a machine that slept has an old timer.
	lookEvery = time.Minute
	// trustedAfter is how long a process may take to see a new CA in the bundle,
	// and some more.
	trustedAfter = 10 * time.Second
)

// certificates are what the processes of a fleet prove themselves with: files in
// the data directory, from a CA that only this process can sign with.
type certificates struct {
	dir   string
	fleet string
	units []unit
	ca    *auth.LocalCA
}

// certify gives each process a certificate for the service that it runs, and
// tells it by its arguments. Programs that bring certificates, or that shall
// talk in the clear, are left alone, and so is a single process.
func (r *running) certify(w wishes) error {
	if w.oneProcess || r.program.about.TLS != "" {
		return nil
	}
	if len(w.peers) > 0 {
		return usagef("--peers: services that run elsewhere know nothing of the certificates that argosy up makes: give all of them certificates that they trust, by -- --tls-cert FILE --tls-key FILE --tls-ca FILE, or let them talk in the clear by -- --insecure")
	}
	c := &certificates{dir: filepath.Join(r.program.about.Data, "tls"), fleet: trustDomain(r.program.about.Program)}
	for _, u := range r.units {
		if u.Service != "" {
			c.units = append(c.units, u)
		}
	}
	// What a fleet before left is of a CA that nobody can sign with any more.
	if err := os.RemoveAll(c.dir); err != nil {
		return fmt.Errorf("certificates: %w", err)
	}
	var err error
	if c.ca, err = auth.NewLocalCA(auth.LocalCAConfig{Fleet: c.fleet}); err != nil {
		return err
	}
	if err := c.write(); err != nil {
		return err
	}
	for i := range r.units {
		if u := &r.units[i]; u.Service != "" {
			f := auth.LocalFiles(c.dir, u.Name)
			u.args = append(u.args, "--tls-cert="+f.Cert, "--tls-key="+f.Key, "--tls-ca="+f.CA)
		}
	}
	r.certificates = c
	return nil
}

// write gives each process a certificate of the CA.
func (c *certificates) write() error {
	for _, u := range c.units {
		if _, err := c.ca.Write(c.dir, u.Name, u.Service); err != nil {
			return fmt.Errorf("certificate of %s: %w", u.Name, err)
		}
	}
	return nil
}

// keep replaces the CA and all certificates before they end, until ctx does.
// failed is told what goes wrong; it is tried again.
func (c *certificates) keep(ctx context.Context, failed func(error)) {
	for pause(ctx, lookEvery) {
		if time.Now().Round(0).Before(c.ca.RenewAt()) {
			continue
		}
		if err := c.renew(ctx); err != nil && ctx.Err() == nil {
			failed(err)
		}
	}
}

// renew goes over to another CA: all believe it before anybody shows it.
func (c *certificates) renew(ctx context.Context) error {
	ca, err := auth.NewLocalCA(auth.LocalCAConfig{Fleet: c.fleet})
	if err != nil {
		return err
	}
	if err := ca.Trust(c.dir); err != nil {
		return err
	}
	if !pause(ctx, trustedAfter) {
		return ctx.Err()
	}
	c.ca = ca
	return c.write()
}

// pause waits, and reports whether ctx is still there.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// keepCertificates renews the certificates, if there are any, until the
// function that it returns is called.
func (r *running) keepCertificates() (stop func()) {
	if r.certificates == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var keeping sync.WaitGroup
	keeping.Go(func() {
		r.certificates.keep(ctx, func(err error) {
			r.board.event(entry{Event: "note", Line: err.Error()}, "new certificates were not made, and it is tried again: "+err.Error())
		})
	})
	return func() {
		cancel()
		keeping.Wait()
	}
}

// trustDomain returns the fleet that certificates name for a program: its name,
// with hyphens for what is not allowed in one.
func trustDomain(program string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '.', c == '-', c == '_':
			return c
		case c >= 'A' && c <= 'Z':
			return c - 'A' + 'a'
		}
		return '-'
	}, program)
}
