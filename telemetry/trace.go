package telemetry

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"
	"google.golang.org/grpc/credentials"
)

// scope names the instrumentation in what is exported.
const scope = "github.com/argosy-go/argosy"

// traces is what records spans: one exporter, and a provider for each service,
// because the service is an attribute of the provider's resource.
type traces struct {
	program   string
	batches   sdk.SpanProcessor
	ratio     float64 // of the traces that begin here
	mu        sync.Mutex
	providers map[string]*sdk.TracerProvider
	tracers   sync.Map // service to trace.Tracer
}

// configureTraces starts recording, if the settings name an endpoint.
func (t *Telemetry) configureTraces(ctx context.Context, s Settings) error {
	if s.SampleRatio < 0 || s.SampleRatio > 1 || s.SampleRatio != s.SampleRatio {
		return fmt.Errorf("%w: sample ratio %v: use 0 to 1", errSettings, s.SampleRatio)
	}
	if s.OTLPEndpoint == "" {
		return nil
	}
	options, err := exporterOptions(s.OTLPEndpoint)
	if err != nil {
		return err
	}
	exporter, err := otlptracegrpc.New(ctx, options...)
	if err != nil {
		return fmt.Errorf("OTLP endpoint %s: %w", s.OTLPEndpoint, err)
	}
	next := &traces{
		program:   t.c.Program,
		batches:   sdk.NewBatchSpanProcessor(&reportingExporter{SpanExporter: exporter, t: t, endpoint: s.OTLPEndpoint}),
		ratio:     s.SampleRatio,
		providers: map[string]*sdk.TracerProvider{},
	}
	if !t.traces.CompareAndSwap(nil, next) {
		return errors.Join(errors.New("telemetry is configured already"), next.shutdown(ctx))
	}
	return nil
}

func exporterOptions(endpoint string) ([]otlptracegrpc.Option, error) {
	if !strings.Contains(endpoint, "://") {
		endpoint = "http://" + endpoint
	}
	u, err := url.Parse(endpoint)
	if err != nil { // err holds what may be a password
		return nil, fmt.Errorf("%w: the OTLP endpoint is no URL: use host:port, http://host:port or https://host:port", errSettings)
	}
	if u.Hostname() == "" || u.Port() == "" || u.Path != "" || u.RawQuery != "" || u.User != nil {
		return nil, fmt.Errorf("%w: OTLP endpoint %q: use host:port, http://host:port or https://host:port", errSettings, u.Redacted())
	}
	options := []otlptracegrpc.Option{otlptracegrpc.WithEndpoint(u.Host)}
	switch u.Scheme {
	case "http":
		return append(options, otlptracegrpc.WithInsecure()), nil
	case "https":
		return append(options, otlptracegrpc.WithTLSCredentials(credentials.NewTLS(nil))), nil
	}
	return nil, fmt.Errorf("%w: OTLP endpoint %q: the scheme is http or https", errSettings, endpoint)
}

// tracer returns the recording tracer of a service.
func (s *traces) tracer(service string) trace.Tracer {
	if tr, ok := s.tracers.Load(service); ok {
		return tr.(trace.Tracer)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.providers[service]
	if p == nil {
		attributes := []attribute.KeyValue{attribute.String("service.name", s.program)}
		if service != "" {
			attributes = []attribute.KeyValue{attribute.String("service.name", service), attribute.String("service.namespace", s.program)}
		}
		p = sdk.NewTracerProvider(sdk.WithSpanProcessor(s.batches), sdk.WithSampler(sdk.AlwaysSample()), sdk.WithResource(resource.NewSchemaless(attributes...)))
		s.providers[service] = p
	}
	tr := p.Tracer(scope)
	s.tracers.Store(service, tr)
	return tr
}

// shutdown sends what is left and closes the exporter: the processor is
// shared, so it is shut down once, through no provider.
func (s *traces) shutdown(ctx context.Context) error {
	if err := s.batches.Shutdown(ctx); err != nil {
		return fmt.Errorf("send the last spans: %w", err)
	}
	return nil
}

// lateTracer starts spans where its Telemetry records them at the time.
type lateTracer struct {
	embedded.Tracer
	t       *Telemetry
	service string
}

// Start implements [trace.Tracer]. A span that is not recorded keeps the trace
// that the context is part of, or begins one; it is not even shown to the SDK,
// whose way of dropping a span costs fifty times as much.
func (l *lateTracer) Start(ctx context.Context, name string, o ...trace.SpanStartOption) (context.Context, trace.Span) {
	span := trace.SpanFromContext(ctx)
	sc := span.SpanContext()
	s := l.t.traces.Load()
	switch {
	case s != nil && s.records(sc):
		return s.tracer(l.service).Start(ctx, name, o...)
	case !sc.IsValid():
		sc = newSpanContext()
	case !span.IsRecording():
		return ctx, span
	} // else begun before Shutdown: the caller gets one whose End does not end that
	ctx = trace.ContextWithSpanContext(ctx, sc)
	return ctx, trace.SpanFromContext(ctx)
}

// records reports whether a span below parent is recorded: as its caller has
// it, and a trace that begins here by chance.
func (s *traces) records(parent trace.SpanContext) bool {
	if parent.IsValid() {
		return parent.IsSampled()
	}
	return rand.Float64() < s.ratio
}

// newSpanContext returns a new trace that nobody records.
func newSpanContext() trace.SpanContext {
	var c trace.SpanContextConfig
	binary.NativeEndian.PutUint64(c.TraceID[:8], rand.Uint64())
	binary.NativeEndian.PutUint64(c.TraceID[8:], rand.Uint64()|1) // never all zero, which means none
	binary.NativeEndian.PutUint64(c.SpanID[:], rand.Uint64()|1)
	return trace.NewSpanContext(c)
}
