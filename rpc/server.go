package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/guard"
	"github.com/argosy-go/argosy/telemetry"
)

// Limits of the gRPC listener. grpc-go's own defaults have none.
const (
	maxStreams        = 1000
	maxHeaderBytes    = 64 << 10
	maxHeaderFrames   = 1 << 20 // that the transport reads, so that what is over maxHeaderBytes is refused by name
	maxMessageBytes   = 4 << 20
	connectionTimeout = 10 * time.Second
	messageTime       = 10 * time.Second
	maxConnectionAge  = 30 * time.Minute
	ageGrace          = time.Minute
	idleConnection    = 15 * time.Minute
	pingAfter         = 2 * time.Minute
	leastPing         = 10 * time.Second
	// Calls beyond them get a goroutine of their own, whose stack has to grow
	// first; one that waits keeps a few KiB.
	workersPerCPU = 32
)

// ServerConfig configures a [Server].
type ServerConfig struct {
	// Telemetry of the process. Nil: silent.
	Telemetry *telemetry.Telemetry
	// Authenticator turns bearer tokens into principals. Nil: every token is
	// refused.
	Authenticator auth.Authenticator
	// TLS is how clients of the network connect; the services among them are
	// who their certificates say. Nil: messages travel in the clear, and services
	// are who their tokens say.
	TLS *auth.TLS
	// Callers are the services that declare to call a contract, by its full name:
	// other services are refused. Nil: every service may call everything.
	Callers map[string][]string
	// MaxInFlight bounds the calls from outside that are served at once, streams
	// included; what comes on top is refused before anything else is done.
	// Zero: 2000.
	MaxInFlight int
	// Shed configures the limit that each unary method finds for itself below
	// MaxInFlight. Zero: right for most.
	Shed guard.ShedConfig
	// ShedMethod changes what Shed says for a method of a service, in place; it
	// is called once for each. Nil: nothing is changed.
	ShedMethod func(service string, m *Method, c *guard.ShedConfig)
	// Quota is what each caller from outside may ask for. Zero: no quota.
	Quota guard.RateConfig
	// Quotas are what holds instead for kinds of callers, by their names:
	// "service/web" for that service of the fleet, [CallerUser] for each caller
	// who is none, and [CallerAnonymous] for each address that calls come from
	// without saying whose they are.
	Quotas map[string]guard.RateConfig
	// MaxRecvBytes bounds a message from the network. Zero: 4 MiB.
	MaxRecvBytes int
	// MessageTime is how long a call may be there without its request, which a
	// caller sends after the call: it holds places that others need. Streams of
	// requests may wait for longer. Zero: 10 s.
	MessageTime time.Duration
	// MaxConnectionAge is when a connection is ended with GOAWAY, so that its
	// client spreads its calls anew; calls under way get a minute more. It
	// varies by a tenth, so that clients do not come back together. Zero: 30 min.
	MaxConnectionAge time.Duration
}

// Server serves contracts, in the process and over gRPC. Register comes before
// Conn and Serve; after that all methods are safe for concurrent use.
type Server struct {
	c        ServerConfig
	handlers map[string]*handler
	owners   map[string]string
	metrics  *serverMetrics
	grpc     *grpc.Server
	health   *health.Server
	gate     gate
	quotas   quotas
	floods   atomic.Uint64 // connections that were closed for one
	calls    sync.WaitGroup

	draining context.Context
	drain    context.CancelCauseFunc
}

// handler is one registered method.
type handler struct {
	*Method
	owner  string
	impl   any
	unary  func(srv any, ctx context.Context, dec func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error)
	stream grpc.StreamHandler
	log    *slog.Logger
	tracer trace.Tracer
	m      methodMetrics
	ending *deprecated // nil: the method stays

	callers []string // the services that declare to call its contract
	shedder *guard.Shedder
	shed    error // the refusal of a call that is too much
}

// NewServer returns a server without services.
func NewServer(c ServerConfig) *Server {
	if c.Telemetry == nil {
		c.Telemetry = telemetry.Discard()
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = 2000
	}
	if c.Shed.MaxLimit == 0 {
		c.Shed.MaxLimit = c.MaxInFlight
	}
	if c.MaxRecvBytes == 0 {
		c.MaxRecvBytes = maxMessageBytes
	}
	if c.MessageTime == 0 {
		c.MessageTime = messageTime
	}
	if c.MaxConnectionAge == 0 {
		c.MaxConnectionAge = maxConnectionAge
	}
	s := &Server{
		c: c, handlers: map[string]*handler{}, owners: map[string]string{},
		metrics: newServerMetrics(c.Telemetry.Registry()), health: health.NewServer(), quotas: newQuotas(c.Quota, c.Quotas),
	}
	s.gate.most = int64(c.MaxInFlight)
	s.observe(c.Telemetry.Registry())
	s.draining, s.drain = context.WithCancelCause(context.Background())
	s.health.Shutdown() // until SetServing
	s.grpc = grpc.NewServer(
		grpc.Creds(floodgate{c.credentials(), &s.floods}),
		grpc.InTapHandle(s.tap),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxHeaderListSize(maxHeaderFrames),
		grpc.MaxRecvMsgSize(c.MaxRecvBytes),
		grpc.ConnectionTimeout(connectionTimeout),
		grpc.NumStreamWorkers(uint32(workersPerCPU*runtime.GOMAXPROCS(0))),
		grpc.SharedWriteBuffer(true),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: idleConnection, MaxConnectionAge: c.MaxConnectionAge, MaxConnectionAgeGrace: ageGrace, Time: pingAfter,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: leastPing, PermitWithoutStream: true}),
	)
	healthpb.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
	return s
}

// Register adds a contract, served by impl, which belongs to the service
// called owner. A contract has one owner in a process.
func (s *Server) Register(owner string, desc *grpc.ServiceDesc, impl any) error {
	if other, ok := s.owners[desc.ServiceName]; ok {
		return fmt.Errorf("contract %s is served by %s and by %s: one of them must go", desc.ServiceName, other, owner)
	}
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(desc.ServiceName))
	if err != nil {
		return fmt.Errorf("contract %s: its descriptor is not linked: %w", desc.ServiceName, err)
	}
	contract, ok := d.(protoreflect.ServiceDescriptor)
	if !ok {
		return fmt.Errorf("contract %s: it names a %T, not a service", desc.ServiceName, d)
	}
	s.owners[desc.ServiceName] = owner
	methods, log := Methods(contract), s.c.Telemetry.Logger(owner)
	guarded := grpc.ServiceDesc{ServiceName: desc.ServiceName, HandlerType: desc.HandlerType, Metadata: desc.Metadata}
	for _, m := range desc.Methods {
		h := &handler{Method: methods["/"+desc.ServiceName+"/"+m.MethodName], owner: owner, impl: impl, unary: m.Handler, log: log}
		if err := s.add(h, desc, m.MethodName); err != nil {
			return err
		}
		guarded.Methods = append(guarded.Methods, grpc.MethodDesc{MethodName: m.MethodName, Handler: s.unaryHandler(h)})
	}
	for _, m := range desc.Streams {
		h := &handler{Method: methods["/"+desc.ServiceName+"/"+m.StreamName], owner: owner, impl: impl, stream: m.Handler, log: log}
		if err := s.add(h, desc, m.StreamName); err != nil {
			return err
		}
		m.Handler = s.streamHandler(h)
		guarded.Streams = append(guarded.Streams, m)
	}
	s.grpc.RegisterService(&guarded, impl)
	return nil
}

func (s *Server) add(h *handler, desc *grpc.ServiceDesc, method string) error {
	if h.Method == nil {
		return fmt.Errorf("contract %s: the generated code has a method %s that the descriptor has not: generate both from the same file", desc.ServiceName, method)
	}
	h.m = s.metrics.of(h.owner, h.FullName)
	var err error
	if h.ending, err = newDeprecated(h, s.metrics.ending); err != nil {
		return fmt.Errorf("method %s: %w", h.FullName, err)
	}
	h.tracer = s.c.Telemetry.TracerOf(h.owner)
	h.callers = s.c.Callers[desc.ServiceName]
	limit := s.c.Shed
	if s.c.ShedMethod != nil {
		s.c.ShedMethod(h.owner, h.Method, &limit)
	}
	h.shedder = guard.NewShedder(limit)
	shed := *errShed
	shed.Service = h.owner
	h.shed = shed.GRPCStatus().Err()
	s.handlers[h.FullName] = h
	return nil
}

// Serve accepts gRPC connections until Shutdown. It returns nil after one.
func (s *Server) Serve(l net.Listener) error {
	if err := s.grpc.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

// SetServing tells the health service whether this server wants calls.
func (s *Server) SetServing(on bool) {
	if !on {
		s.health.Shutdown()
		return
	}
	s.health.Resume()
	s.health.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
	for name := range s.owners {
		s.health.SetServingStatus(name, healthpb.HealthCheckResponse_SERVING)
	}
}

// errDraining is why streams end in a drain.
var errDraining = errors.New("the server drains")

// Shutdown ends streams with UNAVAILABLE, so that their clients come back
// elsewhere, sends GOAWAY and waits for the calls from the network. A call that
// was accepted is served: who listens closes the door, nobody is turned away
// behind it. When ctx ends first, what is left is broken off. Calls in the
// process go on: see Wait.
func (s *Server) Shutdown(ctx context.Context) error {
	s.health.Shutdown()
	s.drain(errDraining)
	return s.orBreak(ctx, s.grpc.GracefulStop)
}

// Wait returns when no handler runs any more. It comes after Shutdown, when
// nobody in the process makes calls.
func (s *Server) Wait(ctx context.Context) error { return s.orBreak(ctx, s.calls.Wait) }

// orBreak runs what waits, and breaks connections off when ctx ends first.
func (s *Server) orBreak(ctx context.Context, waits func()) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		waits()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		s.grpc.Stop()
		return fmt.Errorf("calls were broken off: %w", context.Cause(ctx))
	}
}
