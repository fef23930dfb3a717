package telemetry

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
)

// Telemetry is the logs, traces and metrics of one process.
type Telemetry struct {
	registry *prometheus.Registry
	handler  slog.Handler
}

// Discard returns a Telemetry that keeps nothing.
func Discard() *Telemetry {
	return &Telemetry{registry: prometheus.NewRegistry(), handler: slog.DiscardHandler}
}

// Logger returns the logger of a service.
func (t *Telemetry) Logger(service string) *slog.Logger {
	return slog.New(t.handler).With("service", service)
}

// Registry returns the registry that /metrics shows.
func (t *Telemetry) Registry() *prometheus.Registry { return t.registry }
