package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"

	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/fault"
)

// Reasons of the refusals of services that call.
const (
	// ReasonCallerUncertified: the token is of a service that the certificate of
	// the connection does not name.
	ReasonCallerUncertified = "CALLER_UNCERTIFIED"
	// ReasonCallerUndeclared: the service has not declared that it calls the contract.
	ReasonCallerUndeclared = "CALLER_UNDECLARED"
)

var errUncertified = fault.New(codes.PermissionDenied, ReasonCallerUncertified,
	"the certificate of this connection does not name the service that calls").Refused()

// ClientTLS returns the credentials for connections to a service, which must
// prove that it is that one.
func ClientTLS(t *auth.TLS, service string) credentials.TransportCredentials {
	return explained{credentials.NewTLS(t.Client(service)), true}
}

// Plaintext returns credentials that let messages travel in the clear, wherever to.
func Plaintext() credentials.TransportCredentials {
	return explained{insecure.NewCredentials(), false}
}

// explained makes the errors of connections say what to do about them: TLS
// itself speaks of records and alerts.
type explained struct {
	credentials.TransportCredentials
	secure bool
}

// ClientHandshake implements credentials.TransportCredentials.
func (e explained) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, info, err := e.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if _, clear := errors.AsType[tls.RecordHeaderError](err); clear {
		return nil, nil, fmt.Errorf("%s talks in the clear, and this process has certificates: give --tls-cert, --tls-key and --tls-ca to both (%w)", raw.RemoteAddr(), err)
	}
	if err != nil {
		return nil, nil, err
	}
	hint := "it may take connections with certificates only: give this process --tls-cert, --tls-key and --tls-ca"
	if e.secure { // in TLS 1.3 a client learns that it is refused when it reads
		hint = "it may not take the certificate of this process: its log says why; compare --tls-cert here and --tls-ca there"
	}
	return &silent{Conn: c, hint: hint}, info, nil
}

// Clone implements credentials.TransportCredentials.
func (e explained) Clone() credentials.TransportCredentials {
	return explained{e.TransportCredentials.Clone(), e.secure}
}

// silent is a connection whose peer has not said anything: if it hangs up then,
// the error has a hint.
type silent struct {
	net.Conn
	hint string
	said atomic.Bool
}

// Read implements net.Conn.
func (s *silent) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	if err != nil {
		return n, s.explain(err)
	}
	if !s.said.Load() {
		s.said.Store(true)
	}
	return n, nil
}

// Write implements net.Conn.
func (s *silent) Write(b []byte) (int, error) {
	n, err := s.Conn.Write(b)
	if err != nil {
		err = s.explain(err)
	}
	return n, err
}

func (s *silent) explain(err error) error {
	if s.said.Load() {
		return err
	}
	return fmt.Errorf("%s hung up before it said anything: %w; %s", s.RemoteAddr(), err, s.hint)
}

// onThisMachine lets messages travel in the clear, but not out of the machine.
type onThisMachine struct {
	credentials.TransportCredentials
}

// ClientHandshake implements credentials.TransportCredentials.
func (m onThisMachine) ClientHandshake(ctx context.Context, authority string, c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok && !a.IP.IsLoopback() {
		return nil, nil, fmt.Errorf("%s is on another machine, and calls to it would travel in the clear: give certificates with --tls-cert, --tls-key and --tls-ca, or say --insecure", a)
	}
	return m.TransportCredentials.ClientHandshake(ctx, authority, c)
}

// Clone implements credentials.TransportCredentials.
func (m onThisMachine) Clone() credentials.TransportCredentials {
	return onThisMachine{m.TransportCredentials.Clone()}
}

// credentials returns how the connections talk.
func (o DialOptions) credentials() credentials.TransportCredentials {
	if o.Credentials == nil {
		return onThisMachine{Plaintext()}
	}
	return o.Credentials
}

// certifying are the credentials of a server whose clients have certificates:
// what those say is read once a connection.
type certifying struct {
	credentials.TransportCredentials
	refused func(from net.Addr, err error)
}

// certified is what is known of the client of a connection.
type certified struct {
	credentials.TLSInfo
	id auth.Identity
}

// ServerHandshake implements credentials.TransportCredentials.
func (t certifying) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, info, err := t.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		t.refused(raw.RemoteAddr(), err)
		return nil, nil, err
	}
	x, ok := info.(credentials.TLSInfo)
	if !ok || len(x.State.PeerCertificates) == 0 {
		return nil, nil, fmt.Errorf("a connection with %T where one with certificates is needed", info)
	}
	id, err := auth.CertificateIdentity(x.State.PeerCertificates[0])
	if err != nil {
		return nil, nil, err
	}
	return c, certified{x, id}, nil
}

// Clone implements credentials.TransportCredentials.
func (t certifying) Clone() credentials.TransportCredentials {
	return certifying{t.TransportCredentials.Clone(), t.refused}
}

// credentials returns how the listener talks.
func (c ServerConfig) credentials() credentials.TransportCredentials {
	if c.TLS == nil {
		return insecure.NewCredentials()
	}
	return certifying{credentials.NewTLS(c.TLS.Server()), tellRefusals(c.Telemetry.Logger("tls"))}
}

// tellRefusals returns what logs connections that are refused: each where it is
// the only one for a second, since their clients try again for ever.
func tellRefusals(log *slog.Logger) func(net.Addr, error) {
	var next atomic.Int64
	return func(from net.Addr, err error) {
		if errors.Is(err, io.EOF) {
			return // a probe, which only looks whether somebody listens
		}
		now := time.Now()
		if due := next.Load(); now.UnixNano() >= due && next.CompareAndSwap(due, now.Add(time.Second).UnixNano()) {
			log.Warn("connection refused", "from", from.String(), "error", err)
		}
	}
}

// mayCall holds a service that calls to its certificate, and to what it
// declared. People and programs outside the fleet are none of its business. A
// token is not enough where there are certificates: every process can sign
// tokens, and a token can be stolen.
func (s *Server) mayCall(ctx context.Context, h *handler, p auth.Principal, inProcess bool) error {
	if p.Service == "" {
		return nil
	}
	if s.c.TLS != nil && !inProcess {
		from, _ := peer.FromContext(ctx)
		if from == nil {
			return errUncertified
		}
		if c, ok := from.AuthInfo.(certified); !ok || !c.id.Has(p.Service) {
			return errUncertified
		}
	}
	if s.c.Callers == nil || p.Service == h.owner || slices.Contains(h.callers, p.Service) {
		return nil
	}
	return fault.New(codes.PermissionDenied, ReasonCallerUndeclared,
		"service %s does not declare that it calls %s", p.Service, h.contract()).Refused()
}

// contract returns the full name of the contract that the method is of.
func (h *handler) contract() string { return string(h.Desc.Parent().FullName()) }
