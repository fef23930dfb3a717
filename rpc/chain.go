package rpc

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/tap"

	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/guard"
	argosyv1 "github.com/argosy-go/argosy/proto/argosy/v1"
	"github.com/argosy-go/argosy/telemetry"
)

var (
	errExpired  = fault.New(codes.DeadlineExceeded, "DEADLINE_EXPIRED", "the deadline had passed before the call was served").Refused()
	errLate     = fault.New(codes.DeadlineExceeded, "REQUEST_LATE", "the call came without its request, which did not follow in time").Refused()
	errDrained  = fault.New(codes.Unavailable, fault.ReasonDraining, "the server is going away").WithRetryAfter(time.Second).Refused()
	errBadKey   = fault.New(codes.InvalidArgument, "INVALID_IDEMPOTENCY_KEY", "an idempotency key is 1 to 255 printable ASCII characters")
	errNoKey    = fault.New(codes.InvalidArgument, fault.ReasonKeyMissing, "this method needs an idempotency key, in the header Idempotency-Key")
	errPanicked = fault.New(codes.Internal, "INTERNAL", "internal error")
	errNoAuth   = fault.New(codes.Unauthenticated, "NO_AUTHENTICATOR", "this server takes no tokens")
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
	call := s.begin(ctx, h)
	defer func() { err = s.end(call, recover(), err) }()
	ctx, err = s.admit(call, self)
	if err != nil {
		return nil, call.refuse(err)
	}
	if call.late != nil {
		dec = call.inTime(dec)
	}
	reply, err = h.unary(h.impl, ctx, dec, nil)
	call.returned = true
	return reply, err
}

// serveStream is the server chain round a streaming handler.
func (s *Server) serveStream(ctx context.Context, h *handler, self *auth.Principal, ss grpc.ServerStream) (err error) {
	call := s.begin(ctx, h)
	defer func() { err = s.end(call, recover(), err) }()
	ctx, err = s.admit(call, self)
	if err != nil {
		return call.refuse(err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.draining, func() { cancel(errDraining) })()
	err = h.stream(h.impl, &streamWithContext{ss, ctx, call})
	call.returned = true
	if err != nil && errors.Is(context.Cause(ctx), errDraining) {
		return errDrained
	}
	return err
}

// streamWithContext is a stream whose handler sees another context.
type streamWithContext struct {
	grpc.ServerStream
	ctx  context.Context
	call *served
}

// Context implements grpc.ServerStream.
func (s *streamWithContext) Context() context.Context { return s.ctx }

// RecvMsg implements grpc.ServerStream.
func (s *streamWithContext) RecvMsg(m any) error {
	if s.call.late != nil {
		return s.call.inTime(s.ServerStream.RecvMsg)(m)
	}
	return s.ServerStream.RecvMsg(m)
}

// served is one call in the server chain. It is also a context, below that of
// the handler: what the chain finds out of the call is one value and not a
// chain of them.
type served struct {
	context.Context             // of the transport
	md              metadata.MD // that came with the call, and is not to be changed
	near            bool        // from this process; a call from elsewhere has been through tap
	in              incoming    // zero until the call is admitted
	worth           guard.Criticality

	h        *handler
	ctx      context.Context // with the span
	span     trace.Span
	begun    time.Time
	cancel   context.CancelFunc // ends the context of the handler; nil when nothing does
	late     *time.Timer        // ends the call, whose one request has not come; nil when its deadline is sooner
	overdue  atomic.Bool        // it did
	place    guard.Place        // among the calls of its method
	entered  bool               // it holds its places: see Server.enter
	refused  bool               // the handler was not called
	returned bool               // the handler returned, and did not panic or exit
	degraded Degraded           // what its reply is marked with
}

type servedKey struct{}

// Err implements context.Context. A call that has waited too long for its
// request is one whose time is over.
func (c *served) Err() error {
	err := c.Context.Err()
	if err != nil && c.overdue.Load() {
		return context.DeadlineExceeded
	}
	return err
}

// Value implements context.Context.
func (c *served) Value(key any) any {
	switch key.(type) {
	case servedKey:
		return c
	case incomingKey:
		if c.in.method != "" {
			return &c.in
		}
	case worthKey:
		if c.worth != guard.Default {
			return c.worth
		}
	}
	return c.Context.Value(key)
}

// tap keeps the metadata of a call from the network as the transport has it.
// It is the only place where that can be had without a copy of all of it, or a
// search through all of it for each name that is not there.
func (s *Server) tap(ctx context.Context, info *tap.Info) (context.Context, error) {
	h, ok := s.handlers[info.FullMethodName]
	if listBytes(info.Header) > maxHeaderBytes {
		return ctx, h.tooManyHeaders()
	}
	if !ok {
		return ctx, nil
	}
	c := &served{Context: ctx, md: info.Header}
	if deadline, ok := ctx.Deadline(); !h.Desc.IsStreamingClient() && (!ok || time.Until(deadline) > s.c.MessageTime) {
		var cancel context.CancelFunc
		c.Context, cancel = context.WithCancel(ctx) // the transport reads until it ends
		c.late = time.AfterFunc(s.c.MessageTime, func() {
			c.overdue.Store(true)
			cancel()
		})
	}
	return c, nil
}

// inTime returns dec, which reads the request of a call, with an error of ours
// when that took too long. The caller gets that of the transport: see Err.
func (c *served) inTime(dec func(any) error) func(any) error {
	return func(request any) error {
		err := dec(request)
		intime := c.late.Stop()
		if c.late = nil; !intime && c.overdue.Load() {
			return c.refuse(errLate) // be it that it came just now: the context has ended
		}
		return err
	}
}

// begin opens the span of a call.
func (s *Server) begin(ctx context.Context, h *handler) *served {
	c, _ := ctx.Value(servedKey{}).(*served)
	c.h, c.begun = h, time.Now()
	if parent := c.one("traceparent"); parent != "" {
		ctx = telemetry.WithTraceparent(ctx, parent)
	}
	c.ctx, c.span = h.tracer.Start(ctx, h.FullName[1:], asServer...)
	if h.ending != nil {
		h.ending.announce(c)
	}
	return c
}

// The options of spans, made once: each call would allocate them.
var (
	asServer = []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer)}
	asClient = []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindClient)}
)

// refuse notes that the handler was not called.
func (c *served) refuse(err error) error {
	c.refused = true
	return err
}

// end turns a panic, an exit and every error into a status error, logs once
// what is our fault, and counts. It gives back what the call held.
func (s *Server) end(c *served, panicked any, err error) error {
	switch {
	case panicked != nil:
		err = errPanicked.Wrap(fmt.Errorf("panic: %v\n%s", panicked, debug.Stack()))
	case !c.refused && !c.returned:
		err = errPanicked.Wrap(errors.New("the handler ended its goroutine"))
	}
	if c.cancel != nil {
		c.cancel()
	}
	if c.late != nil {
		c.late.Stop() // the request was not even read
	}
	e := fault.From(err)
	s.leave(c, e)
	c.h.m.observe(e, time.Since(c.begun))
	if c.span.IsRecording() {
		recordFault(c.span, e)
	}
	c.span.End()
	if e == nil {
		return nil
	}
	if e == errShed { // made beforehand: in an overload there are many
		return c.h.shed
	}
	if ours(e.Code) {
		c.h.log.ErrorContext(c.ctx, "call failed", "method", c.h.FullName, "code", e.Code.String(), "reason", e.Reason, "error", e.Error())
	}
	out := *e
	if out.Service == "" {
		out.Service = c.h.owner
	}
	// What the handler returns may be the refusal of somebody that it asked,
	// after it has done something itself: only what was refused here is
	// certainly not done.
	out.NotDone = out.NotDone && c.refused
	return out.GRPCStatus().Err()
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

// admit decides whether a call is served, cheapest refusal first, and returns
// the context that its handler sees.
func (s *Server) admit(c *served, self *auth.Principal) (context.Context, error) {
	if self == nil && c.near && listBytes(c.md) > maxHeaderBytes {
		return nil, errHeaders
	}
	if expired(c.ctx) {
		return nil, errExpired
	}
	worth := guard.ParseCriticality(c.one(CriticalityHeader))
	if self == nil { // the process's own calls are bounded where they come from
		if err := s.enter(c, worth); err != nil {
			return nil, err
		}
	}
	return s.identify(c, self, worth)
}

// identify finds out who calls and whether they may, and reads the key.
func (s *Server) identify(c *served, self *auth.Principal, worth guard.Criticality) (context.Context, error) {
	ctx := c.ctx
	p, known, err := s.authenticate(c, self)
	if err != nil {
		if over := s.quota(c, auth.Principal{}, false); over != nil { // guessing is not free
			return nil, over
		}
		return nil, err
	}
	if err := s.mayCall(ctx, c.h, p, self != nil); err != nil {
		return nil, err
	}
	if c.worth, err = s.worthOf(c, worth, p); err != nil {
		return nil, err
	}
	if self == nil {
		if err := s.quota(c, p, known); err != nil {
			return nil, err
		}
	}
	if err := auth.Authorize(p, known, c.h.Access); err != nil {
		return nil, err
	}
	if c.h.ending != nil {
		c.h.ending.called(c, p, known)
	}
	if known {
		ctx = auth.With(ctx, p)
	}
	key, err := keyOf(c.md[KeyHeader], c.h.Method)
	if err != nil {
		return nil, err
	}
	c.in = incoming{c.h.FullName, key}
	if _, bounded := ctx.Deadline(); !bounded && c.h.Deadline > 0 {
		ctx, c.cancel = context.WithTimeout(ctx, c.h.Deadline)
	}
	return ctx, nil
}

// expired reports whether nobody waits for the call any more.
func expired(ctx context.Context) bool {
	d, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(d)
}

// authenticate finds out who calls: the service in the process, the owner of
// the bearer token, or nobody.
func (s *Server) authenticate(c *served, self *auth.Principal) (auth.Principal, bool, error) {
	if self != nil {
		return *self, true, nil
	}
	token, err := auth.Credential(c.md["authorization"], c.md["x-api-key"])
	if err != nil || token == "" {
		return auth.Principal{}, false, err
	}
	if s.c.Authenticator == nil {
		return auth.Principal{}, false, errNoAuth
	}
	p, err := s.c.Authenticator.Authenticate(c.ctx, token)
	return p, err == nil, err
}

// keyOf returns the idempotency key of a call, checked against the contract.
func keyOf(given []string, m *Method) (string, error) {
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

// one returns the first value of the metadata of that name, in lower case, or "".
func (c *served) one(name string) string {
	if v := c.md[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}
