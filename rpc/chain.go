package rpc

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/fault"
	argosyv1 "github.com/argosy-go/argosy/proto/argosy/v1"
	"github.com/argosy-go/argosy/telemetry"
)

var (
	errExpired   = fault.New(codes.DeadlineExceeded, "DEADLINE_EXPIRED", "the deadline had passed before the call was served").Refused()
	errShed      = fault.New(codes.Unavailable, "OVERLOADED", "the server has too much to do").WithRetryAfter(time.Second).Refused()
	errDrained   = fault.New(codes.Unavailable, "DRAINING", "the server is going away").WithRetryAfter(time.Second).Refused()
	errBadKey    = fault.New(codes.InvalidArgument, "INVALID_IDEMPOTENCY_KEY", "an idempotency key is 1 to 255 printable ASCII characters")
	errNoKey     = fault.New(codes.InvalidArgument, fault.ReasonKeyMissing, "this method needs an idempotency key, in the header Idempotency-Key")
	errPanicked  = fault.New(codes.Internal, "INTERNAL", "internal error")
	errNoAuth    = fault.New(codes.Unauthenticated, "NO_AUTHENTICATOR", "this server takes no tokens")
	errBadBearer = fault.New(codes.Unauthenticated, "INVALID_AUTHORIZATION", "the authorization must be one bearer token")
)

const maxKeyBytes = 255

// unaryHandler returns what grpc-go calls for a unary method.
func (s *Server) unaryHandler(h *handler) func(any, context.Context, func(any) error, grpc.UnaryServerInterceptor) (any, error) {
	return func(_ any, ctx context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		return s.serveUnary(ctx, h, nil, dec)
	}
}

// streamHandler returns what grpc-go calls for a streaming method.
func (s *Server) streamHandler(h *handler) grpc.StreamHandler {
	return func(_ any, ss grpc.ServerStream) error { return s.serveStream(ss.Context(), h, nil, ss) }
}

// serveUnary is the server chain round a unary handler. self is the principal
// of a caller in the process that needs no token. Errors are status errors.
func (s *Server) serveUnary(ctx context.Context, h *handler, self *auth.Principal, dec func(any) error) (reply any, err error) {
	ctx, done := s.begin(ctx, h)
	defer func() { err = done(recover(), err) }()
	ctx, leave, err := s.admit(ctx, h, self)
	if err != nil {
		return nil, err
	}
	defer leave()
	return h.unary(h.impl, ctx, dec, nil)
}

// serveStream is the server chain round a streaming handler.
func (s *Server) serveStream(ctx context.Context, h *handler, self *auth.Principal, ss grpc.ServerStream) (err error) {
	ctx, done := s.begin(ctx, h)
	defer func() { err = done(recover(), err) }()
	ctx, leave, err := s.admit(ctx, h, self)
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.draining, func() { cancel(errDraining) })()
	err = h.stream(h.impl, &streamWithContext{ss, ctx})
	if err != nil && errors.Is(context.Cause(ctx), errDraining) {
		return errDrained
	}
	return err
}

// streamWithContext is a stream whose handler sees another context.
type streamWithContext struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *streamWithContext) Context() context.Context { return s.ctx }

// begin opens the span of a call. The function that it returns ends it: it
// turns a panic and every error into a status error, logs once what is our
// fault, and counts.
func (s *Server) begin(ctx context.Context, h *handler) (context.Context, func(panicked any, err error) error) {
	begun := time.Now()
	md, _ := metadata.FromIncomingContext(ctx)
	if parent := one(md, "traceparent"); parent != "" {
		ctx = telemetry.WithTraceparent(ctx, parent)
	}
	ctx, span := s.c.Telemetry.TracerOf(h.owner).Start(ctx, h.FullName[1:], trace.WithSpanKind(trace.SpanKindServer))
	return ctx, func(panicked any, err error) error {
		if panicked != nil {
			err = errPanicked.Wrap(fmt.Errorf("panic: %v\n%s", panicked, debug.Stack()))
		}
		e := fault.From(err)
		h.m.observe(e, time.Since(begun))
		if span.IsRecording() {
			recordFault(span, e)
		}
		span.End()
		if e == nil {
			return nil
		}
		if ours(e.Code) {
			h.log.ErrorContext(ctx, "call failed", "method", h.FullName, "code", e.Code.String(), "reason", e.Reason, "error", e.Error())
		}
		if e.Service == "" {
			c := *e
			c.Service = h.owner
			e = &c
		}
		return e.GRPCStatus().Err()
	}
}

// ours reports whether an error of the code is a fault of the server.
func ours(c codes.Code) bool {
	return c == codes.Internal || c == codes.Unknown || c == codes.DataLoss
}

func recordFault(span trace.Span, e *fault.Error) {
	if e == nil {
		return
	}
	span.SetAttributes(attribute.String("rpc.grpc.status", e.Code.String()), attribute.String("error.reason", e.Reason))
	if ours(e.Code) {
		span.SetStatus(otelcodes.Error, e.Message)
	}
}

// admit decides whether a call is served, cheapest refusal first, and gives it
// the context that its handler sees. leave gives its place back.
func (s *Server) admit(ctx context.Context, h *handler, self *auth.Principal) (_ context.Context, leave func(), err error) {
	if expired(ctx) {
		return nil, nil, errExpired
	}
	if self != nil { // the process's own calls are bounded where they come from
		ctx, cancel, err := s.identify(ctx, h, self)
		return ctx, cancel, err
	}
	select {
	case s.places <- struct{}{}:
	default:
		return nil, nil, errShed
	}
	ctx, cancel, err := s.identify(ctx, h, nil)
	if err != nil {
		<-s.places
		return nil, nil, err
	}
	return ctx, func() { cancel(); <-s.places }, nil
}

// identify finds out who calls and whether they may, and reads the key.
func (s *Server) identify(ctx context.Context, h *handler, self *auth.Principal) (context.Context, context.CancelFunc, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	p, known, err := s.authenticate(ctx, md, self)
	if err != nil {
		return nil, nil, err
	}
	if err := auth.Authorize(p, known, h.Access); err != nil {
		return nil, nil, err
	}
	if known {
		ctx = auth.With(ctx, p)
	}
	key, err := keyOf(md, h.Method)
	if err != nil {
		return nil, nil, err
	}
	ctx = WithIncoming(ctx, h.FullName, key)
	if _, bounded := ctx.Deadline(); !bounded && h.Deadline > 0 {
		ctx, cancel := context.WithTimeout(ctx, h.Deadline)
		return ctx, cancel, nil
	}
	return ctx, func() {}, nil
}

// expired reports whether nobody waits for the call any more.
func expired(ctx context.Context) bool {
	d, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(d)
}

// authenticate finds out who calls: the service in the process, the owner of
// the bearer token, or nobody.
func (s *Server) authenticate(ctx context.Context, md metadata.MD, self *auth.Principal) (auth.Principal, bool, error) {
	if self != nil {
		return *self, true, nil
	}
	given := md.Get("authorization")
	if len(given) == 0 {
		return auth.Principal{}, false, nil
	}
	scheme, token, ok := strings.Cut(given[0], " ")
	if !ok || len(given) > 1 || !strings.EqualFold(scheme, "bearer") {
		return auth.Principal{}, false, errBadBearer
	}
	if s.c.Authenticator == nil {
		return auth.Principal{}, false, errNoAuth
	}
	p, err := s.c.Authenticator.Authenticate(ctx, strings.TrimSpace(token))
	return p, err == nil, err
}

// keyOf returns the idempotency key of a call, checked against the contract.
func keyOf(md metadata.MD, m *Method) (string, error) {
	given := md.Get(KeyHeader)
	if len(given) == 0 {
		if m.Idempotency == argosyv1.Idempotency_KEY_REQUIRED {
			return "", errNoKey
		}
		return "", nil
	}
	key := given[0]
	if len(given) > 1 || key == "" || len(key) > maxKeyBytes {
		return "", errBadKey
	}
	for i := range len(key) {
		if key[i] < ' ' || key[i] > '~' {
			return "", errBadKey
		}
	}
	return key, nil
}

func one(md metadata.MD, name string) string {
	if v := md.Get(name); len(v) > 0 {
		return v[0]
	}
	return ""
}
