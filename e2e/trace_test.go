package e2e

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
)

// collector receives spans over OTLP, as Jaeger and others do.
type collector struct {
	collectorpb.UnimplementedTraceServiceServer
	mu     sync.Mutex
	traces map[string][]string // trace to the names of its spans
}

func (c *collector) Export(_ context.Context, req *collectorpb.ExportTraceServiceRequest) (*collectorpb.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range req.ResourceSpans {
		for _, s := range r.ScopeSpans {
			for _, span := range s.Spans {
				id := fmt.Sprintf("%x", span.TraceId)
				c.traces[id] = append(c.traces[id], span.Name)
			}
		}
	}
	return &collectorpb.ExportTraceServiceResponse{}, nil
}

// spans returns the spans of a trace.
func (c *collector) spans(id string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.traces[id])
}

func collect(t *testing.T) (*collector, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{traces: map[string][]string{}}
	s := grpc.NewServer()
	collectorpb.RegisterTraceServiceServer(s, c)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return c, l.Addr().String()
}

func TestOneTraceCoversCallsSagaStepsAndEvents(t *testing.T) {
	c, addr := collect(t)
	f := start(t, build(t, ""), t.TempDir(), "ARGOSY_OTLP="+addr)
	f.signIn("customer@shop.test")
	const trace = "0af7651916cd43dd8448eb211c80319c"
	f.header = map[string]string{"Traceparent": "00-" + trace + "-b7ad6b7169203331-01"}
	id := f.must("POST", "/v1/orders", "k1", order("tok_ok", f.products()[0])).field("id")
	f.header = nil
	if s := f.awaitEnd(id); s != "CONFIRMED" {
		t.Fatalf("the order ended %s", s)
	}
	f.green(20 * time.Second) // the customer has been told
	if err := f.stop(); err != nil {
		t.Fatal(err)
	}
	spans := c.spans(trace)
	for _, want := range []string{
		"argosy.shop.order.v1.Orders/PlaceOrder", "argosy.shop.catalog.v2.Catalog/BatchGetProducts",
		"argosy.shop.inventory.v1.Inventory/Reserve", "argosy.shop.payment.v1.Payment/Capture",
		"capture", "argosy.shop.order.v1.OrderConfirmed",
	} {
		if !slices.ContainsFunc(spans, func(name string) bool { return strings.Contains(name, want) }) {
			t.Errorf("the trace has no span %q; it has %q", want, spans)
		}
	}
}
