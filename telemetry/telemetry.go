package telemetry

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/trace"
)

// Config is what is known of a process before its settings have been read.
type Config struct {
	// Program names the process in traces and metrics. Empty: "argosy".
	Program string
	// Output receives the logs; it is written to by one goroutine at a time.
	// Nil: os.Stderr.
	Output io.Writer
}

// Settings are the choices of an operator.
type Settings struct {
	// Level is the least level that is logged: debug, info, warn or error.
	// Empty: info.
	Level string
	// Format is json, console, or auto: console when the output is a terminal.
	// Empty: auto.
	Format string
	// NoColor keeps the console free of colours. They are only used on a
	// terminal anyway.
	NoColor bool
	// OTLPEndpoint receives traces over OTLP/gRPC: host:port or
	// http://host:port in the clear, https://host:port with TLS. Empty: no
	// traces are recorded.
	OTLPEndpoint string
	// SampleRatio is the share, 0 to 1, of the traces begun here that are
	// recorded. A trace begun elsewhere is recorded if its caller records it.
	SampleRatio float64
}

// Telemetry is the logs, traces and metrics of one process. It is safe for
// concurrent use.
type Telemetry struct {
	c        Config
	registry *prometheus.Registry
	root     atomic.Pointer[slog.Handler] // what loggers write to
	traces   atomic.Pointer[traces]       // what tracers record to; nil: nothing
	lost     prometheus.Counter
}

// New returns a Telemetry that logs at level info and records no traces, until
// [Telemetry.Configure] says otherwise. Its registry holds the metrics of the
// Go runtime, of the process and of the build.
func New(c Config) *Telemetry {
	if c.Program == "" {
		c.Program = "argosy"
	}
	if c.Output == nil {
		c.Output = os.Stderr
	}
	t := &Telemetry{c: c, registry: prometheus.NewRegistry(), lost: newLost()}
	h, _ := newHandler(c.Output, Settings{}) // the zero settings are good
	t.root.Store(&h)
	t.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		buildInfo(c.Program),
		t.lost,
	)
	return t
}

// Discard returns a Telemetry that logs nothing and records no traces. Its
// registry is empty.
func Discard() *Telemetry {
	t := &Telemetry{c: Config{Program: "argosy", Output: io.Discard}, registry: prometheus.NewRegistry(), lost: newLost()}
	h := slog.Handler(slog.DiscardHandler)
	t.root.Store(&h)
	return t
}

// Configure applies the settings: loggers and tracers that exist already
// follow. It fails, changing nothing, when a setting is not one. It is called
// once, before [Telemetry.Shutdown]; an OTLP endpoint that cannot be reached
// is no error, neither now nor later.
func (t *Telemetry) Configure(ctx context.Context, s Settings) error {
	h, err := newHandler(t.c.Output, s)
	if err != nil {
		return err
	}
	if err := t.configureTraces(ctx, s); err != nil {
		return err
	}
	t.root.Store(&h)
	return nil
}

// Logger returns the logger of a service. Its lines carry the service's name,
// and the trace of the context that they are logged with.
func (t *Telemetry) Logger(service string) *slog.Logger {
	return slog.New(&lateHandler{t: t}).With("service", service)
}

// Registry returns the registry that /metrics shows.
func (t *Telemetry) Registry() *prometheus.Registry { return t.registry }

// Handler serves the metrics in Prometheus' text format and OpenMetrics. A
// collector that fails leaves out its own metrics and no others.
func (t *Telemetry) Handler() http.Handler {
	return promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, EnableOpenMetrics: true, Registry: t.registry,
	})
}

// Tracer returns the tracer of the process. What it starts is recorded under
// the program's name; see [Telemetry.TracerOf].
func (t *Telemetry) Tracer() trace.Tracer { return t.TracerOf("") }

// TracerOf returns the tracer of a service, so that a trace shows which
// service worked, however many of them share the process. A span that is not
// recorded stays in the trace of its context, trace.WithNewRoot or not.
func (t *Telemetry) TracerOf(service string) trace.Tracer {
	return &lateTracer{t: t, service: service}
}

// Shutdown sends the spans that are still here and stops recording. Loggers
// go on. It is idempotent.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	s := t.traces.Swap(nil)
	if s == nil {
		return nil
	}
	return s.shutdown(ctx)
}

// buildInfo is a metric that is always 1 and says in its labels what runs.
func buildInfo(program string) prometheus.Collector {
	version, revision := "unknown", "unknown"
	if b, ok := debug.ReadBuildInfo(); ok {
		version = b.Main.Version
		for _, s := range b.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
	}
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "argosy_build_info",
		Help: "Always 1; the labels say what runs.",
		ConstLabels: prometheus.Labels{
			"program": program, "version": version, "revision": revision, "go": runtime.Version(),
		},
	}, func() float64 { return 1 })
}

var errSettings = errors.New("telemetry settings")
