package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"regexp"
	"time"

	"google.golang.org/grpc"

	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/broker"
	argosyv1 "github.com/argosy-go/argosy/proto/argosy/v1"
	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/telemetry"
)

// Setup is what a service declares itself on. It is used by one goroutine, in
// the Setup function of the service; the handles that it gives are safe for
// concurrent use and work from the start of the service.
//
// Declaration errors are kept and reported together: see [Setup.Err].
type Setup struct {
	name string
	o    Options
	db   *store.DB
	errs []error

	configs   []any
	services  []Registration
	handlers  []Handler
	admin     []Handler
	documents [][]byte
	edges     []Edge
	workers   []Worker
	onStart   []Hook
	onStop    []Hook
	parts     []any
	broker    broker.Broker
	signer    *auth.Signer
	dir       string
	httpAddr  string
	origin    string
	hints     []string
}

// Options is what the program gives to every service it runs.
type Options struct {
	// Telemetry is shared by all services of a process. Nil: a silent one.
	Telemetry *telemetry.Telemetry
	// Instance names this process among the replicas of the service; it is
	// the holder of leases, so it is new at every start. Empty: random.
	Instance string
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
	// RunTwice makes every transaction run its function twice: see [store.DB.RunTwice].
	RunTwice bool
}

// Registration is a gRPC service implementation.
type Registration struct {
	Desc *grpc.ServiceDesc
	Impl any
}

// Handler is an HTTP handler mounted beside the REST edge.
type Handler struct {
	// Pattern is a pattern of net/http.ServeMux.
	Pattern string
	Handler http.Handler
	// Access says who may call it. Nil: everybody, and tokens are the handler's
	// own affair.
	Access *argosyv1.Access
}

// Hook is a named function of the lifecycle.
type Hook struct {
	Name string
	Run  func(ctx context.Context) error
}

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

// New returns a Setup for the service of that name: lower case letters, digits
// and single hyphens, at most 40.
func New(name string, o Options) *Setup {
	if o.Telemetry == nil {
		o.Telemetry = telemetry.Discard()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Instance == "" {
		o.Instance = newInstance()
	}
	s := &Setup{name: name, o: o}
	if len(name) > 40 || !nameForm.MatchString(name) {
		s.Fail(fmt.Errorf("service name %q: use lower case letters, digits and single hyphens, starting with a letter, at most 40", name))
	}
	return s
}

// Name returns the name of the service.
func (s *Setup) Name() string { return s.name }

// Instance returns the name of this process among the replicas of the service.
func (s *Setup) Instance() string { return s.o.Instance }

// Now returns the time of the program's clock.
func (s *Setup) Now() time.Time { return s.o.Now() }

// Log returns the service's logger. It works at once; what is logged before
// the configuration has been read appears at the default level.
func (s *Setup) Log() *slog.Logger { return s.o.Telemetry.Logger(s.name) }

// Telemetry returns the telemetry of the process.
func (s *Setup) Telemetry() *telemetry.Telemetry { return s.o.Telemetry }

// Fail records a declaration error: the program does not start and shows all
// of them. Nil is ignored.
func (s *Setup) Fail(err error) {
	if err != nil {
		s.errs = append(s.errs, err)
	}
}

// Err returns the declaration errors, joined, each with the service's name.
func (s *Setup) Err() error {
	var errs []error
	for _, err := range s.errs {
		errs = append(errs, fmt.Errorf("service %s: %w", s.name, err))
	}
	return errors.Join(errs...)
}

// DB returns the handle of the service's database and sets its migrations:
// files NNNN_name.sql with goose annotations, in the root or in the only
// directory, so that an embed.FS is given as it is. A service has one database;
// nil migrations (a mechanism asking for the handle) leave those that are set.
func (s *Setup) DB(migrations fs.FS) *store.DB {
	if s.db == nil {
		s.db = store.NewDB(s.name)
		if s.o.RunTwice {
			s.db.RunTwice()
		}
	}
	if migrations != nil {
		s.db.Migrations("service", migrations)
	}
	return s.db
}

// HasDB reports whether the service declared a database.
func (s *Setup) HasDB() bool { return s.db != nil }

// Config declares the settings of the service: a pointer to a struct whose
// exported fields (string, bool, int, int64, uint, float64, time.Duration)
// become settings. Field MaxLines of service order is the flag
// --order.max-lines, the variable ORDER_MAX_LINES and the file's key
// order.max-lines, in that order. Tags: default:"50", usage:"…",
// secret:"true" (never printed, given by a variable or the file that
// --order.max-lines-file names, and by no flag), secret:"url" (the same where
// the URL has a password). The struct is filled before OnStart.
func (s *Setup) Config(ptr any) { s.configs = append(s.configs, ptr) }

// Configs returns what Config was given.
func (s *Setup) Configs() []any { return s.configs }

// RegisterService implements [grpc.ServiceRegistrar]: the contract is served
// over gRPC, REST and in the process.
func (s *Setup) RegisterService(desc *grpc.ServiceDesc, impl any) {
	s.services = append(s.services, Registration{desc, impl})
	s.Declare(Edge{Kind: Serves, Name: desc.ServiceName})
}

// Registrations returns the contracts that the service serves.
func (s *Setup) Registrations() []Registration { return s.services }

// Handle mounts an HTTP handler on the HTTP edge, under a pattern of
// net/http.ServeMux: a page, a webhook, a Gin or Echo engine. Telemetry, limits
// and drain are round it, and with [SignedIn] or [Roles] the fleet's
// authentication.
func (s *Setup) Handle(pattern string, h http.Handler, opts ...HandleOption) {
	handler := Handler{Pattern: pattern, Handler: h}
	for _, o := range opts {
		o.handle(&handler)
	}
	s.handlers = append(s.handlers, handler)
}

// HandleOption varies one handler.
type HandleOption interface{ handle(*Handler) }

type handleOption func(*Handler)

func (f handleOption) handle(h *Handler) { f(h) }

// SignedIn lets only authenticated callers through to the handler, which finds
// them with auth.From. Others are answered 401 with problem+json.
func SignedIn() HandleOption { return Roles() }

// Roles is SignedIn for callers that hold one of the roles; others are answered
// 403.
func Roles(roles ...string) HandleOption {
	return handleOption(func(h *Handler) { h.Access = &argosyv1.Access{Roles: roles} })
}

// Handlers returns what Handle was given.
func (s *Setup) Handlers() []Handler { return s.handlers }

// Admin mounts a handler for operators on the admin listener, under
// /services/<name of the service>, which is stripped off: the pattern
// "GET /dead-letters" of service order answers GET /services/order/dead-letters.
// What is not GET or HEAD changes something, and the program lets only
// operators do it.
func (s *Setup) Admin(pattern string, h http.Handler) {
	s.admin = append(s.admin, Handler{Pattern: pattern, Handler: h})
}

// AdminHandlers returns what Admin was given.
func (s *Setup) AdminHandlers() []Handler { return s.admin }

// OpenAPI adds an OpenAPI 3.1 document, as the generator writes it, to what
// the program serves at /openapi.json.
func (s *Setup) OpenAPI(document []byte) { s.documents = append(s.documents, document) }

// Documents returns what OpenAPI was given.
func (s *Setup) Documents() [][]byte { return s.documents }

// OnStart runs f after the stores and the broker are open and before the
// service is ready. An error keeps the program from starting.
func (s *Setup) OnStart(name string, f func(ctx context.Context) error) {
	s.onStart = append(s.onStart, Hook{name, f})
}

// OnStop runs f after handlers and workers have ended, in reverse order of
// declaration; its context ends with the drain's hard timeout.
func (s *Setup) OnStop(name string, f func(ctx context.Context) error) {
	s.onStop = append(s.onStop, Hook{name, f})
}

// StartHooks returns the OnStart hooks in order.
func (s *Setup) StartHooks() []Hook { return s.onStart }

// StopHooks returns the OnStop hooks in the order of declaration.
func (s *Setup) StopHooks() []Hook { return s.onStop }

// UseBroker says that the service needs a broker.
func (s *Setup) UseBroker() { s.Declare(Edge{Kind: NeedsBroker}) }

// Broker returns the broker, or nil before it is open.
func (s *Setup) Broker() broker.Broker { return s.broker }

// BindBroker gives the service its broker; the program calls it before OnStart.
func (s *Setup) BindBroker(b broker.Broker) { s.broker = b }

// BindPlace tells the service where it runs; the program calls it before OnStart.
func (s *Setup) BindPlace(dir, httpAddr string, signer *auth.Signer) {
	s.dir, s.httpAddr, s.signer = dir, httpAddr, signer
}

// Dir returns the data directory of the fleet, from OnStart on.
func (s *Setup) Dir() string { return s.dir }

// HTTPAddr returns the address of the HTTP listener of this process as this
// machine reaches it, host:port, from OnStart on.
func (s *Setup) HTTPAddr() string { return s.httpAddr }

// BindOrigin tells the service the URL of the fleet's HTTP edge; the program
// calls it before OnStart.
func (s *Setup) BindOrigin(url string) { s.origin = url }

// Origin returns the URL of the fleet's HTTP edge as those outside reach it,
// without a slash at its end, from OnStart on: what to give to whoever is to
// call back. In a fleet of several processes another one may listen there.
func (s *Setup) Origin() string { return s.origin }

// Signer returns what signs the tokens of the fleet, from OnStart on.
func (s *Setup) Signer() *auth.Signer { return s.signer }

// Hint adds a line to what the program prints when it is ready: where to look
// and what to type. Call it from OnStart.
func (s *Setup) Hint(format string, args ...any) {
	s.hints = append(s.hints, fmt.Sprintf(format, args...))
}

// Hints returns the lines that Hint was given.
func (s *Setup) Hints() []string { return s.hints }

// Part returns the service's own instance of T, made on first use. It is how a
// mechanism (outbox, sagas) keeps one state a service: T is a type of the
// mechanism's own.
func Part[T any](s *Setup, create func() *T) *T {
	if p := Find[T](s); p != nil {
		return p
	}
	p := create()
	s.parts = append(s.parts, p)
	return p
}

// Find returns the service's instance of T, or nil when there is none.
func Find[T any](s *Setup) *T {
	for _, p := range s.parts {
		if p, ok := p.(*T); ok {
			return p
		}
	}
	return nil
}
