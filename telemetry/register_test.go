package telemetry_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/argosy-go/argosy/telemetry"
)

func newRuns(labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "runs_total", Help: "Runs."}, labels)
}

func TestServicesOfAProcessShareACollector(t *testing.T) {
	r := prometheus.NewRegistry()
	if first, second := telemetry.Register(r, newRuns("service")), telemetry.Register(r, newRuns("service")); first != second {
		t.Error("the second service counts where nobody looks")
	}
}

func TestWithoutARegistryACollectorIsItsOwn(t *testing.T) {
	c := newRuns("service")
	if telemetry.Register(nil, c) != c {
		t.Error("it is another")
	}
}

func TestCollectorsOfANameThatDisagreePanic(t *testing.T) {
	r := prometheus.NewRegistry()
	telemetry.Register(r, newRuns("service"))
	defer func() {
		if recover() == nil {
			t.Error("one of them is not shown, and nobody is told")
		}
	}()
	telemetry.Register(r, newRuns("service", "saga"))
}
