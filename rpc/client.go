package rpc

import (
	"cmp"
	"context"
	"crypto/rand"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/guard"
	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/telemetry"
)

var errInTransaction = fault.New(codes.Internal, "CALL_IN_TRANSACTION",
	"a remote call was made inside a transaction: make it before or after, or in a step of a saga").Refused()

var errNoMessage = fault.New(codes.Internal, "NOT_A_MESSAGE", "requests and replies must be protocol buffers").Refused()

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
	// Guard configures the policies. The zero value is right for most.
	Guard guard.Config
	// Options are fallbacks, and policies in place of Guard. [CheckOptions] tells
	// whether they fit the contract.
	Options []ClientOption
	// Override is what operators set, above Guard, Options and contract.
	Override Override
}

// Override is what operators set for the calls of one contract, above what code
// and contract say. The zero value changes nothing.
type Override struct {
	// RetryShare is how many retries there are for each call. Zero: as in
	// [guard.Config].
	RetryShare float64
	// Method changes the policies of a method and its deadline, in place; it is
	// called once for each. Whatever it says, a call is repeated and hedged only
	// as its contract allows. Nil: nothing is changed.
	Method func(m *Method, c *guard.Config)
}

// Client is a connection with the client chain round it. Safe for concurrent use.
type Client struct {
	c       ClientConfig
	tracer  trace.Tracer
	target  *guard.Target
	methods map[string]*guarded
	away    *unreachable
}

// guarded is a method with its policies.
type guarded struct {
	*Method
	*guard.Guard
	fallback *fallback // nil: none
}

// repeat says what may be done with the calls of a method.
func (m *Method) repeat() guard.Repeat {
	switch {
	case m.ReadOnly:
		return guard.ReadOnly
	case m.Retryable:
		return guard.Repeatable
	default:
		return guard.Once
	}
}

// NewClient puts the client chain round a transport: deadline, fallback,
// idempotency key, trace, and the policies of package guard. It panics when
// the options do not fit the contract, which [CheckOptions] tells as an error.
func NewClient(c ClientConfig) *Client {
	if err := CheckOptions(c.Contract, c.Options); err != nil {
		panic(err)
	}
	if c.Telemetry == nil {
		c.Telemetry = telemetry.Discard()
	}
	for _, o := range c.Options {
		if g := o.policies(); g != nil {
			c.Guard = *g
		}
	}
	if c.Guard.Registry == nil {
		c.Guard.Registry = c.Telemetry.Registry()
	}
	methods := Methods(c.Contract)
	c.Guard.RetryShare = cmp.Or(c.Override.RetryShare, c.Guard.RetryShare)
	if change := c.Override.Method; change != nil {
		c.Guard.Override = func(method string, g *guard.Config) { change(methods[method], g) }
	}
	cl := &Client{
		c: c, tracer: c.Telemetry.TracerOf(c.From), methods: map[string]*guarded{},
		target: guard.NewTarget(string(c.Contract.FullName()), c.Guard),
		away:   &unreachable{contract: c.Contract.FullName(), log: c.Telemetry.Logger(c.From)},
	}
	for name, m := range methods {
		cl.methods[name] = &guarded{Method: m, Guard: cl.target.Method(c.From, name, m.repeat())}
	}
	for _, o := range c.Options {
		f := o.fallback()
		if f == nil {
			continue
		}
		cl.methods[f.method].fallback = f
	}
	cl.observe(c.Guard.Registry)
	return cl
}

// Invoke implements grpc.ClientConnInterface.
func (c *Client) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	m, err := c.begin(ctx, method)
	if err != nil {
		return err
	}
	if m.Deadline > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, m.Deadline)
		defer cancel()
	}
	ctx, span := c.tracer.Start(ctx, method[1:], asClient...)
	sent := c.outgoing(ctx, m.Method)
	watch, race := degradedOf(ctx), m.Hedged() && raceable(opts)
	given := opts
	if watch != nil {
		opts = watch.listen(opts)
	}
	if race {
		err = c.race(sent, m, args, reply, given, watch)
	} else {
		err = m.Do(sent, func(ctx context.Context) error { return c.c.Transport.Invoke(ctx, method, args, reply, opts...) })
	}
	if err != nil {
		err = c.away.instead(err)
	}
	if err != nil && span.IsRecording() {
		recordFault(span, fault.From(err))
	}
	if err != nil && m.fallback != nil {
		err = m.fallback.instead(ctx, args, reply, opts, err)
	}
	if watch != nil {
		watch.look(ctx)
	}
	span.End()
	return err
}

// begin finds the method and refuses what must not be called from here.
func (c *Client) begin(ctx context.Context, method string) (*guarded, error) {
	m, ok := c.methods[method]
	if !ok {
		return nil, fault.New(codes.Unimplemented, "UNKNOWN_METHOD", "%s has no method %s", c.c.Contract.FullName(), method).Refused()
	}
	if store.Inside(ctx) {
		return nil, errInTransaction
	}
	return m, UseKey(ctx, method)
}

// race makes a hedged call, each attempt with a reply of its own. What the
// trailer of the one that won says is for watch, unless that is nil.
func (c *Client) race(ctx context.Context, m *guarded, args, reply any, opts []grpc.CallOption, watch *watcher) error {
	out, ok := reply.(proto.Message)
	if !ok {
		return errNoMessage
	}
	return m.Race(ctx, func() guard.Racer {
		mine, ears, opts := out.ProtoReflect().New().Interface(), watcher{}, opts
		if watch != nil {
			opts = ears.listen(opts)
		}
		return guard.Racer{
			Attempt: func(ctx context.Context) error {
				return c.c.Transport.Invoke(ctx, m.FullName, args, mine, opts...)
			},
			Win: func() {
				proto.Reset(out)
				proto.Merge(out, mine)
				if watch != nil {
					watch.trailer = ears.trailer
				}
			},
		}
	})
}

// raceable reports whether two attempts may be given the options at once: none
// of them receives something of an attempt.
func raceable(opts []grpc.CallOption) bool {
	for _, o := range opts {
		switch o.(type) {
		case grpc.StaticMethodCallOption, grpc.MaxRecvMsgSizeCallOption, grpc.MaxSendMsgSizeCallOption:
		default:
			return false
		}
	}
	return true
}

// outgoing adds what a call carries: what it is worth, the trace, and one
// idempotency key for all attempts. Who calls is the transport's to say.
func (c *Client) outgoing(ctx context.Context, m *Method) context.Context {
	pairs := make([]string, 0, 6)
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
	if len(pairs) == 0 {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, pairs...)
}
