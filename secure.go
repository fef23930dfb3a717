package argosy

import (
	"context"
	"fmt"
	"net"
	"strings"

	"google.golang.org/grpc/credentials"

	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/auth/apikey"
	"github.com/argosy-go/argosy/rpc"
	"github.com/argosy-go/argosy/service"
)

// openTLS reads the certificate of the process, when it has one.
func (f *Fleet) openTLS(ctx context.Context) error {
	given := 0
	for _, file := range []string{f.set.TLSCert, f.set.TLSKey, f.set.TLSCa} {
		if file != "" {
			given++
		}
	}
	switch {
	case given == 0:
		return nil
	case given < 3:
		return &usageError{fmt.Errorf("--tls-cert, --tls-key and --tls-ca are given together or not at all")}
	case f.set.Insecure:
		return &usageError{fmt.Errorf("--insecure is for processes without certificates, and --tls-cert gives one")}
	}
	var services []string
	for _, s := range f.services {
		services = append(services, s.Name())
	}
	log := f.tel.Logger("tls")
	t, err := auth.OpenTLS(auth.TLSConfig{
		Cert: f.set.TLSCert, Key: f.set.TLSKey, CA: f.set.TLSCa, Services: services,
		Report: func(err error) {
			log.ErrorContext(context.WithoutCancel(ctx), "new certificates cannot be used, the old ones are kept", "err", err)
		},
	})
	if err != nil {
		return &usageError{fmt.Errorf("--tls-cert, --tls-key and --tls-ca: %w", err)}
	}
	f.tls = t
	return nil
}

// tls tells what the settings say of calls between processes: see [Description].
func (s settings) tls() string {
	switch {
	case s.TLSCert != "":
		return "files"
	case s.Insecure:
		return "insecure"
	}
	return ""
}

// credentials returns how this process connects to a service that runs elsewhere.
func (f *Fleet) credentials(service string) credentials.TransportCredentials {
	switch {
	case f.tls != nil:
		return rpc.ClientTLS(f.tls, service)
	case f.set.Insecure:
		return rpc.Plaintext()
	}
	return nil // on this machine only
}

// checkPlaintext refuses peers which can be seen to be on other machines when
// what is said to them would travel in the clear. A name that turns out to
// lead there is refused when it is connected to.
func (f *Fleet) checkPlaintext(service, peer string) error {
	if f.tls != nil || f.set.Insecure {
		return nil
	}
	for address := range strings.SplitSeq(peer, "|") {
		host, _, err := net.SplitHostPort(address)
		if ip := net.ParseIP(host); err == nil && ip != nil && !ip.IsLoopback() {
			return &usageError{fmt.Errorf("--peers %s=%s is on another machine, and calls to it would travel in the clear: give certificates with --tls-cert, --tls-key and --tls-ca, or say --insecure", service, address)}
		}
	}
	return nil
}

// declaredCallers tells which services of the program declare to call each
// contract. API keys come to every service, which asks their keeper.
func declaredCallers(every []*service.Setup) map[string][]string {
	by, keys := map[string][]string{}, string(apikey.Contract().FullName())
	for _, s := range every {
		by[keys] = append(by[keys], s.Name())
		for _, late := range rpc.Declared(s) {
			contract := string(late.Contract().FullName())
			by[contract] = append(by[contract], s.Name())
		}
	}
	return by
}
