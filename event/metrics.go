package event

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/argosy-go/argosy/telemetry"
)

// metrics are the metrics of one service; the vectors behind them are shared
// by all services of the process.
type metrics struct {
	depth     prometheus.Gauge
	oldest    prometheus.Gauge
	published *prometheus.CounterVec // by topic
	failures  prometheus.Counter
	handled   *prometheus.CounterVec   // by consumer and result
	delay     *prometheus.HistogramVec // by consumer
}

// The results of argosy_events_handled_total.
const (
	resultDone      = "done"
	resultDuplicate = "duplicate"
	resultFailed    = "failed"
	resultDead      = "dead"
	resultExpired   = "expired"
	resultUnknown   = "unknown"
)

func newMetrics(reg *prometheus.Registry, service string) *metrics {
	own := prometheus.Labels{"service": service}
	return &metrics{
		depth: telemetry.Register(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "argosy_outbox_depth", Help: "Events that wait for the broker.",
		}, []string{"service"})).With(own),
		oldest: telemetry.Register(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "argosy_outbox_oldest_seconds", Help: "Age of the oldest event that waits for the broker.",
		}, []string{"service"})).With(own),
		published: telemetry.Register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "argosy_events_published_total", Help: "Events that the broker acknowledged.",
		}, []string{"service", "topic"})).MustCurryWith(own),
		failures: telemetry.Register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "argosy_publish_failures_total", Help: "Attempts to hand an event to the broker that failed.",
		}, []string{"service"})).With(own),
		handled: telemetry.Register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "argosy_events_handled_total", Help: "Deliveries to a consumer and attempts at what waits, by result.",
		}, []string{"service", "consumer", "result"})).MustCurryWith(own),
		delay: telemetry.Register(reg, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "argosy_event_delay_seconds", Help: "From the publishing transaction to the commit of the consumer.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, 1, 5, 30, 300, 3600},
		}, []string{"service", "consumer"})).MustCurryWith(own).(*prometheus.HistogramVec),
	}
}
