package argosy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/fault"
)

// Limits of what operators ask.
const (
	adminBody    = 64 << 10         // bytes of a request
	adminRead    = 10 * time.Second // for the body to arrive
	adminTime    = 30 * time.Second // for a handler
	adminWrite   = time.Minute      // for the answer to leave, the handler's time in it
	adminToken   = 16               // characters of the shortest token
	actorHeader  = "Argosy-Actor"
	actorLength  = 200 // bytes of the longest actor
	actorUnknown = "unknown"
)

// Reasons why an operator is refused.
const (
	reasonToken      = "ADMIN_TOKEN_REQUIRED"
	reasonRemote     = "ADMIN_LOOPBACK_ONLY"
	reasonHost       = "ADMIN_HOST_NOT_LOOPBACK"
	reasonForwarded  = "ADMIN_FORWARDED"
	reasonCrossSite  = "ADMIN_CROSS_SITE"
	reasonActor      = "ADMIN_ACTOR_INVALID"
	reasonIncomplete = "ADMIN_BODY_INCOMPLETE"
)

// operators lets operators through to a handler and nobody else: whoever has
// the token, or, where there is none, this machine's own users and tools. A
// web page that a user of this machine looks at is not one of them: it must
// neither post a form here nor reach here under a name that it points at the
// loopback address.
type operators struct {
	token [sha256.Size]byte // of the token
	open  bool              // no token is set
	log   *slog.Logger
	next  http.Handler
}

// newOperators returns the guard round next. An empty token means that there
// is none.
func newOperators(token string, log *slog.Logger, next http.Handler) *operators {
	return &operators{token: sha256.Sum256([]byte(token)), open: token == "", log: log, next: next}
}

// checkAdminToken refuses a token that can be guessed or cannot be sent.
func checkAdminToken(token string) error {
	if token == "" {
		return nil
	}
	if len(token) < adminToken {
		return fmt.Errorf("admin token: it has %d characters, and must have %d or more; `openssl rand -hex 32` makes a good one", len(token), adminToken)
	}
	for _, c := range token {
		if c <= ' ' || c > '~' {
			return errors.New("admin token: it must be of printable ASCII characters without spaces")
		}
	}
	return nil
}

// ServeHTTP implements http.Handler.
func (o *operators) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	err := o.admit(r)
	if err == nil {
		err = takeBody(w, r)
	}
	if err != nil {
		o.log.WarnContext(r.Context(), "operator refused", "reason", fault.From(err).Reason, "method", r.Method, "path", r.URL.Path, "remote", r.RemoteAddr)
		fault.WriteHTTP(w, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), adminTime)
	defer cancel()
	o.next.ServeHTTP(w, r.WithContext(ctx))
}

// admit says whether the request is an operator's, and who that is.
func (o *operators) admit(r *http.Request) error {
	allowed := o.bearer
	if o.open {
		allowed = local
	}
	if err := allowed(r); err != nil {
		return err
	}
	actor := r.Header.Get(actorHeader)
	if len(actor) > actorLength || !utf8.ValidString(actor) {
		return fault.New(codes.InvalidArgument, reasonActor, "the header %s must be UTF-8 of at most %d bytes", actorHeader, actorLength).Refused()
	}
	if strings.TrimSpace(actor) == "" {
		r.Header.Set(actorHeader, actorUnknown)
	}
	return nil
}

// bearer asks for the token. Sums of equal length are compared, so that the
// time tells neither the token nor its length.
func (o *operators) bearer(r *http.Request) error {
	token, err := auth.Bearer(r.Header.Values("Authorization"))
	sum := sha256.Sum256([]byte(token))
	if err != nil || subtle.ConstantTimeCompare(sum[:], o.token[:]) != 1 {
		return fault.New(codes.Unauthenticated, reasonToken, "send the admin token as Authorization: Bearer <token>").Refused()
	}
	r.Header.Del("Authorization") // no handler needs it
	return nil
}

// local lets in what comes from this machine and was meant for it.
func local(r *http.Request) error {
	refuse := func(reason, format string, args ...any) error {
		return fault.New(codes.PermissionDenied, reason, format, args...).Refused()
	}
	if !loopbackAddr(r.RemoteAddr) {
		return refuse(reasonRemote, "without an admin token only this machine is served: set an admin token, or ask from there")
	}
	if !loopbackHost(r.Host) {
		return refuse(reasonHost, "without an admin token only a loopback host is served, as in http://127.0.0.1, not %q", r.Host)
	}
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via"} {
		if len(r.Header.Values(name)) > 0 {
			return refuse(reasonForwarded, "a proxy forwarded this (%s), so nobody knows from where it is: set an admin token", name)
		}
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return refuse(reasonCrossSite, "a page of another site asked for this (Sec-Fetch-Site: %s)", site)
	}
	if origins := r.Header.Values("Origin"); len(origins) > 0 {
		u, err := url.Parse(origins[0])
		if err != nil || len(origins) > 1 || !strings.EqualFold(u.Host, r.Host) {
			return refuse(reasonCrossSite, "a page of another site asked for this (Origin: %s)", origins[0])
		}
	}
	return nil
}

// loopbackAddr reports whether a remote address is of this machine alone.
func loopbackAddr(addr string) bool {
	ap, err := netip.ParseAddrPort(addr)
	return err == nil && ap.Addr().IsLoopback()
}

// loopbackHost reports whether a Host header names the loopback interface. A
// name other than localhost may point anywhere, and be pointed elsewhere later.
func loopbackHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	return err == nil && ip.IsLoopback()
}

// takeBody reads the body before any handler: it is small, so a slow or a
// large one is refused here, once for all of them.
func takeBody(w http.ResponseWriter, r *http.Request) error {
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	// A writer without deadlines has no slow peer either. The server lifts it
	// when the body has ended.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(adminRead))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, adminBody))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return fault.New(codes.InvalidArgument, fault.ReasonTooLarge, "the body is over %d bytes", adminBody).Refused()
	}
	if err != nil {
		return fault.New(codes.InvalidArgument, reasonIncomplete, "the body did not arrive within %s", adminRead).Refused().Wrap(err)
	}
	if len(body) > 0 { // a form of a web page can send text, but no JSON
		if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
			return fault.New(codes.InvalidArgument, fault.ReasonMediaType, "the body must be JSON, with Content-Type: application/json").Refused()
		}
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return nil
}
