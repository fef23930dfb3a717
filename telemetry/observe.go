package telemetry

import (
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Metric is one that is read when somebody asks: what it tells of keeps its own
// numbers, and pays nothing for being looked at.
type Metric struct {
	// Name and Help are those of Prometheus; a counter's name ends in _total.
	Name, Help string
	// Labels are the names of the labels.
	Labels []string
	// Kind is prometheus.CounterValue or prometheus.GaugeValue.
	Kind prometheus.ValueType
}

// Observe registers a metric with r: read gives its values, with those of the
// labels in their order, each time somebody asks. It may be called by several
// goroutines at once. Several reads of a metric add up, value by value. A nil r
// registers nothing.
func Observe(r prometheus.Registerer, m Metric, read func(give func(value float64, labels ...string))) {
	if r == nil {
		return
	}
	o := Register(r, &observed{kind: m.Kind, desc: prometheus.NewDesc(m.Name, m.Help, m.Labels, nil)})
	o.mu.Lock()
	defer o.mu.Unlock()
	o.reads = append(o.reads, read)
}

// observed is a metric with all its reads.
type observed struct {
	kind prometheus.ValueType
	desc *prometheus.Desc

	mu    sync.Mutex
	reads []func(give func(value float64, labels ...string))
}

// Describe implements prometheus.Collector.
func (o *observed) Describe(ch chan<- *prometheus.Desc) { ch <- o.desc }

// Collect implements prometheus.Collector.
func (o *observed) Collect(ch chan<- prometheus.Metric) {
	o.mu.Lock()
	reads := slices.Clone(o.reads)
	o.mu.Unlock()
	type sample struct {
		value  float64
		labels []string
	}
	sums := map[string]*sample{}
	for _, read := range reads {
		read(func(value float64, labels ...string) {
			key := strings.Join(labels, "\xff") // no byte of UTF-8
			if s := sums[key]; s != nil {
				s.value += value
				return
			}
			sums[key] = &sample{value, slices.Clone(labels)}
		})
	}
	for _, s := range sums {
		ch <- prometheus.MustNewConstMetric(o.desc, o.kind, s.value, s.labels...)
	}
}
