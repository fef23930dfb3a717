package rpc

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/telemetry"
)

// serverMetrics counts served calls: rate, errors, duration.
type serverMetrics struct {
	handled *prometheus.CounterVec
	took    *prometheus.HistogramVec
	ending  *prometheus.CounterVec // calls of deprecated methods
}

// methodMetrics are the metrics of one method, resolved at registration.
type methodMetrics struct {
	all   *serverMetrics
	label prometheus.Labels
	took  prometheus.Observer
	codes *sync.Map // codes.Code to prometheus.Counter
}

func newServerMetrics(r prometheus.Registerer) *serverMetrics {
	return &serverMetrics{
		ending: newDeprecations(r),
		handled: telemetry.Register(r, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "argosy_rpc_server_handled_total", Help: "Calls served, by how they ended.",
		}, []string{"service", "method", "code"})),
		took: telemetry.Register(r, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "argosy_rpc_server_seconds", Help: "How long calls took to serve.",
			Buckets: []float64{.0001, .0003, .001, .003, .01, .03, .1, .3, 1, 3, 10},
		}, []string{"service", "method"})),
	}
}

func (m *serverMetrics) of(service, method string) methodMetrics {
	label := prometheus.Labels{"service": service, "method": method}
	return methodMetrics{all: m, label: label, took: m.took.With(label), codes: &sync.Map{}}
}

func (m methodMetrics) observe(e *fault.Error, took time.Duration) {
	code := codes.OK
	if e != nil {
		code = e.Code
	}
	m.took.Observe(took.Seconds())
	c, ok := m.codes.Load(code)
	if !ok {
		c, _ = m.codes.LoadOrStore(code, m.all.handled.WithLabelValues(m.label["service"], m.label["method"], code.String()))
	}
	c.(prometheus.Counter).Inc()
}
