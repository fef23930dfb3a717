package rpc

import (
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/internal/sunset"
	"github.com/argosy-go/argosy/telemetry"
)

// deprecated announces the end of a method with each of its replies, and counts
// who still calls it.
type deprecated struct {
	notice  *sunset.Notice
	header  metadata.MD // not changed
	calls   *prometheus.CounterVec
	log     *slog.Logger
	callers sync.Map // the kind of a caller to its prometheus.Counter
}

// newDeprecations counts calls by the kind of their caller: services are few,
// and users are counted as one.
func newDeprecations(r prometheus.Registerer) *prometheus.CounterVec {
	return telemetry.Register(r, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "argosy_rpc_deprecated_calls_total", Help: "Calls of methods that go away, by who makes them.",
	}, []string{"service", "method", "caller"}))
}

// newDeprecated returns nil for a method that stays.
func newDeprecated(h *handler, calls *prometheus.CounterVec) (*deprecated, error) {
	n, err := sunset.Of(h.Desc)
	if err != nil || n == nil {
		return nil, err
	}
	md := metadata.Pairs("deprecation", n.Deprecation)
	if n.Sunset != "" {
		md.Set("sunset", n.Sunset)
	}
	if len(n.Links) > 0 {
		md.Set("link", n.Links...)
	}
	return &deprecated{
		notice: n, header: md, log: h.log,
		calls: calls.MustCurryWith(prometheus.Labels{"service": h.owner, "method": h.FullName}),
	}, nil
}

// announce puts the notice into the headers of the reply.
func (d *deprecated) announce(c *served) {
	_ = grpc.SetHeader(c.ctx, d.header) // nothing has been sent that could make it fail
}

// called counts a call, and tells the log of the first that a caller makes.
func (d *deprecated) called(c *served, p auth.Principal, known bool) {
	kind := kindOf(p, known)
	n, ok := d.callers.Load(kind)
	if !ok {
		var before bool
		if n, before = d.callers.LoadOrStore(kind, d.calls.WithLabelValues(kind)); !before {
			d.log.InfoContext(c.ctx, "a deprecated method is called", "method", c.h.FullName, "caller", kind,
				"since", d.notice.Deprecation, "sunset", d.notice.Sunset)
		}
	}
	n.(prometheus.Counter).Inc()
}
