package argosy

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/fault"
	argosyv1 "github.com/argosy-go/argosy/proto/argosy/v1"
	"github.com/argosy-go/argosy/rpc"
	"github.com/argosy-go/argosy/telemetry"
)

var errUncertified = fault.New(codes.PermissionDenied, rpc.ReasonCallerUncertified,
	"a service of the fleet calls by gRPC, where its certificate proves who it is").Refused()

// mounted puts round a handler of the user's what the contracts' routes have:
// a span, a log line for what fails, an answer for a panic, a bounded body.
type mounted struct {
	pattern string
	handler http.Handler
	log     *slog.Logger
	tracer  trace.Tracer
	maxBody int64
	access  *argosyv1.Access // nil: everybody
	who     auth.Authenticator
	tls     bool // services prove who they are by certificates, which nobody shows here
}

// ServeHTTP implements http.Handler.
func (m *mounted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	if parent := r.Header.Get("Traceparent"); parent != "" {
		ctx = telemetry.WithTraceparent(ctx, parent)
	}
	ctx, span := m.tracer.Start(ctx, m.pattern, trace.WithSpanKind(trace.SpanKindServer))
	defer span.End()
	r = r.WithContext(ctx)
	r.Body = http.MaxBytesReader(w, r.Body, m.maxBody)
	seen := &statusWriter{ResponseWriter: w}
	begun := time.Now()
	defer func() {
		p := recover()
		if p == http.ErrAbortHandler {
			panic(p) // the handler wants the connection gone
		}
		if p != nil {
			m.log.ErrorContext(ctx, "handler panicked", "pattern", m.pattern, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			if seen.status == 0 {
				fault.WriteHTTP(seen, fault.New(codes.Internal, "INTERNAL", "internal error"))
			}
		}
		span.SetAttributes(attribute.Int("http.response.status_code", seen.status))
		if seen.status >= http.StatusInternalServerError {
			m.log.WarnContext(ctx, "handler failed", "pattern", m.pattern, "status", seen.status, "took", time.Since(begun))
		}
	}()
	r, err := m.admit(r)
	if err != nil {
		fault.WriteHTTP(seen, err)
		return
	}
	m.handler.ServeHTTP(seen, r)
}

// admit returns the request with its caller, who may make it.
func (m *mounted) admit(r *http.Request) (*http.Request, error) {
	if m.access == nil {
		return r, nil
	}
	token, err := auth.Credential(r.Header.Values("Authorization"), r.Header.Values("X-Api-Key"))
	var caller auth.Principal
	if err == nil && token != "" {
		caller, err = m.who.Authenticate(r.Context(), token)
	}
	if err != nil {
		return nil, err
	}
	if m.tls && caller.Service != "" {
		return nil, errUncertified
	}
	if err := auth.Authorize(caller, token != "", m.access); err != nil {
		return nil, err
	}
	return r.WithContext(auth.With(r.Context(), caller)), nil
}

// statusWriter remembers the status. Unwrap gives http.ResponseController the
// writer beneath, so that handlers can still flush, hijack and set deadlines.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
