package saga

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/telemetry"
)

// meters are the metrics of a service's sagas.
type meters struct {
	started  *prometheus.CounterVec
	ended    *prometheus.CounterVec
	attempts *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	crashes  *prometheus.CounterVec
	late     *prometheus.CounterVec
	active   prometheus.Gauge
	parked   prometheus.Gauge
	left     prometheus.Gauge
}

func newMeters(s *service.Setup) *meters {
	registry, labels := s.Telemetry().Registry(), prometheus.Labels{"service": s.Name()}
	counter := func(name, help string, by ...string) *prometheus.CounterVec {
		return telemetry.Register(registry, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "argosy_saga_" + name, Help: help, ConstLabels: labels}, by))
	}
	gauge := func(name, help string) prometheus.Gauge {
		return telemetry.Register(registry, prometheus.NewGauge(prometheus.GaugeOpts{Name: "argosy_saga_" + name, Help: help, ConstLabels: labels}))
	}
	return &meters{
		started:  counter("started_total", "Runs started by this process.", "saga"),
		ended:    counter("ended_total", "Runs that this process ended or parked, by state.", "saga", "state"),
		attempts: counter("attempts_total", "Attempts of steps, by result: ok, unknown, not done or refused.", "saga", "step", "result"),
		seconds: telemetry.Register(registry, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "argosy_saga_step_seconds", Help: "Duration of the attempts of steps.", ConstLabels: labels,
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 9),
		}, []string{"saga", "step"})),
		crashes: counter("crashes_total", "Runs taken over from a process that ended while it took their step.", "saga", "step"),
		late:    counter("late_total", "Runs whose deadline has passed after their pivot.", "saga"),
		left:    gauge("unclaimed", "Runs that have been due for longer than a lease, in the whole store: no process knows their saga, or all are overloaded."),
		active:  gauge("active", "Runs that go on or wait, in the whole store."),
		parked:  gauge("parked", "Runs that wait for a person, in the whole store."),
	}
}

// census counts the runs in the store.
func (m *meters) census(ctx context.Context, q store.Querier) error {
	active, parked, err := counts(ctx, q)
	if err != nil {
		return err
	}
	m.active.Set(float64(active))
	m.parked.Set(float64(parked))
	return nil
}

// attempt counts one attempt of a step.
func (m *meters) attempt(r *record, s *step, err error, took time.Duration) {
	name, result := s.name, "ok"
	if r.status == backward {
		name += "/undo"
	}
	if err != nil {
		result = judge(err).String()
	}
	m.attempts.WithLabelValues(r.saga, name, result).Inc()
	m.seconds.WithLabelValues(r.saga, name).Observe(took.Seconds())
}
