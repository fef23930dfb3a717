package telemetry_test

import (
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/argosy-go/argosy/telemetry"
)

func TestWhatIsObservedIsReadWhenAskedAndAddsUp(t *testing.T) {
	r := prometheus.NewRegistry()
	m := telemetry.Metric{Name: "argosy_test_total", Help: "Test.", Labels: []string{"service", "method"}, Kind: prometheus.CounterValue}
	n := 1.0
	for range 2 { // two clients of one method
		telemetry.Observe(r, m, func(give func(float64, ...string)) { give(n, "a", "x") })
	}
	telemetry.Observe(r, m, func(give func(float64, ...string)) { give(7, "b", "x") })
	telemetry.Observe(nil, m, nil) // nothing to register with
	n = 2
	want := `
# HELP argosy_test_total Test.
# TYPE argosy_test_total counter
argosy_test_total{method="x",service="a"} 4
argosy_test_total{method="x",service="b"} 7
`
	w := httptest.NewRecorder()
	promhttp.HandlerFor(r, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if got := w.Body.String(); got != want[1:] {
		t.Errorf("got\n%swant%s", got, want)
	}
}
