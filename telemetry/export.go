package telemetry

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// reportingExporter tells of spans that could not be sent, in our own log and
// metrics: the SDK would write to a handler that is global to the process.
type reportingExporter struct {
	sdk.SpanExporter
	t        *Telemetry
	endpoint string
	failing  atomic.Bool
}

// ExportSpans implements [sdk.SpanExporter]. It logs the first failure and the
// recovery, not each batch in between.
func (e *reportingExporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	log := slog.New(&lateHandler{t: e.t}).With("endpoint", e.endpoint)
	switch {
	case err != nil:
		e.t.lost.Add(float64(len(spans)))
		if !e.failing.Swap(true) {
			log.WarnContext(ctx, "the OTLP endpoint takes no spans: traces are lost until it does", "err", err)
		}
	case e.failing.Swap(false):
		log.InfoContext(ctx, "the OTLP endpoint takes spans again")
	}
	return nil
}

func newLost() prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{
		Name: "argosy_spans_lost_total",
		Help: "Spans that the OTLP endpoint did not take.",
	})
}
