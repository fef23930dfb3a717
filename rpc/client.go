package rpc

import (
	"context"
	"crypto/rand"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/guard"
	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/telemetry"
)

var errInTransaction = fault.New(codes.Internal, "CALL_IN_TRANSACTION",
	"a remote call was made inside a transaction: make it before or after, or in a step of a saga").Refused()

// ClientConfig configures the client chain of one contract.
type ClientConfig struct {
	// From is the calling service.
	From string
	// Contract is what is called. Required.
	Contract protoreflect.ServiceDescriptor
	// Transport carries the attempts: [Server.Conn], or [Dial]. Required.
	Transport grpc.ClientConnInterface
	// Telemetry of the process. Nil: silent.
	Telemetry *telemetry.Telemetry
	// Guard configures retries and breakers. The zero value is right for most.
	Guard guard.Config
}

// client is the client chain round a transport.
type client struct {
	c       ClientConfig
	tracer  trace.Tracer
	methods map[string]*guarded
}

// guarded is a method with its policies.
type guarded struct {
	*Method
	*guard.Guard
}

// NewClient returns a connection that puts the client chain round the
// transport: deadline, idempotency key, trace, retries, breaker.
func NewClient(c ClientConfig) grpc.ClientConnInterface {
	if c.Telemetry == nil {
		c.Telemetry = telemetry.Discard()
	}
	cl := &client{c: c, tracer: c.Telemetry.TracerOf(c.From), methods: map[string]*guarded{}}
	if c.Guard.Registry == nil {
		c.Guard.Registry = c.Telemetry.Registry()
	}
	target := guard.NewTarget(string(c.Contract.FullName()), c.Guard)
	for name, m := range Methods(c.Contract) {
		cl.methods[name] = &guarded{m, target.Method(c.From, name, m.Retryable)}
	}
	return cl
}

// Invoke implements grpc.ClientConnInterface.
func (c *client) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	m, ok := c.methods[method]
	if !ok {
		return fault.New(codes.Unimplemented, "UNKNOWN_METHOD", "%s has no method %s", c.c.Contract.FullName(), method).Refused()
	}
	if store.Inside(ctx) {
		return errInTransaction
	}
	if err := UseKey(ctx, method); err != nil {
		return err
	}
	if m.Deadline > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, m.Deadline)
		defer cancel()
	}
	ctx, span := c.tracer.Start(ctx, method[1:], trace.WithSpanKind(trace.SpanKindClient))
	ctx = c.outgoing(ctx, m.Method)
	err := m.Do(ctx, func(ctx context.Context) error { return c.c.Transport.Invoke(ctx, method, args, reply, opts...) })
	if err != nil && span.IsRecording() {
		recordFault(span, fault.From(err))
	}
	span.End()
	return err
}

// NewStream implements grpc.ClientConnInterface. A stream that was opened is
// not retried: its messages cannot be taken back.
func (c *client) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	m, ok := c.methods[method]
	if !ok {
		return nil, fault.New(codes.Unimplemented, "UNKNOWN_METHOD", "%s has no method %s", c.c.Contract.FullName(), method).Refused()
	}
	if store.Inside(ctx) {
		return nil, errInTransaction
	}
	if err := UseKey(ctx, method); err != nil {
		return nil, err
	}
	ctx = c.outgoing(ctx, m.Method)
	var stream grpc.ClientStream
	err := m.Do(ctx, func(ctx context.Context) (err error) {
		cancel := func() {}
		opts := opts // each attempt ends its own context
		if m.Deadline > 0 {
			ctx, cancel = context.WithTimeout(ctx, m.Deadline)
			opts = append(opts[:len(opts):len(opts)], grpc.OnFinish(func(error) { cancel() }))
		}
		if stream, err = c.c.Transport.NewStream(ctx, desc, method, opts...); err != nil {
			cancel()
		}
		return err
	})
	return stream, err
}

// outgoing adds what a call carries: the trace, the caller's name and one
// idempotency key for all attempts.
func (c *client) outgoing(ctx context.Context, m *Method) context.Context {
	pairs := make([]string, 0, 8)
	pairs = append(pairs, CallerHeader, c.c.From)
	if worth := CriticalityOf(ctx); worth != guard.Default {
		pairs = append(pairs, CriticalityHeader, worth.String())
	}
	if t := telemetry.Traceparent(ctx); t != "" {
		pairs = append(pairs, "traceparent", t)
	}
	key := OutgoingIdempotencyKey(ctx)
	if key == "" && m.Keyed() {
		key = rand.Text()
	}
	if key != "" {
		pairs = append(pairs, KeyHeader, key)
	}
	return metadata.AppendToOutgoingContext(ctx, pairs...)
}
