package telemetry

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
)

// collector is an OTLP server that keeps what it gets as "service span".
type collector struct {
	collectorpb.UnimplementedTraceServiceServer
	mu    sync.Mutex
	spans map[string]span
}

type span struct{ trace, parent string }

func (c *collector) Export(_ context.Context, r *collectorpb.ExportTraceServiceRequest) (*collectorpb.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rs := range r.ResourceSpans {
		service := ""
		for _, a := range rs.Resource.Attributes {
			if a.Key == "service.name" {
				service = a.Value.GetStringValue()
			}
		}
		for _, ss := range rs.ScopeSpans {
			for _, s := range ss.Spans {
				c.spans[service+" "+s.Name] = span{string(s.TraceId), string(s.ParentSpanId)}
			}
		}
	}
	return &collectorpb.ExportTraceServiceResponse{}, nil
}

// collect runs a collector for the time of the test and returns its address.
func collect(t *testing.T) (*collector, string) {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{spans: map[string]span{}}
	s := grpc.NewServer()
	collectorpb.RegisterTraceServiceServer(s, c)
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := s.Serve(lis); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { s.Stop(); serving.Wait() })
	return c, lis.Addr().String()
}

func TestSpansReachTheCollector(t *testing.T) {
	c, addr := collect(t)
	tel := New(Config{Program: "shop", Output: &bytes.Buffer{}})
	early := tel.Tracer() // made before it is configured
	if err := tel.Configure(t.Context(), Settings{OTLPEndpoint: addr, SampleRatio: 1}); err != nil {
		t.Fatal(err)
	}
	ctx, place := early.Start(t.Context(), "place")
	ctx, reserve := tel.TracerOf("inventory").Start(ctx, "reserve")
	// Over the network and on in another program.
	elsewhere := WithTraceparent(context.Background(), Traceparent(ctx))
	_, pay := tel.TracerOf("payment").Start(elsewhere, "pay")
	pay.End()
	reserve.End()
	place.End()
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Errorf("a second shutdown: %v", err)
	}

	id := place.SpanContext().TraceID()
	bytesOf := func(s trace.Span) string { id := s.SpanContext().SpanID(); return string(id[:]) }
	want := map[string]span{
		"shop place":        {string(id[:]), ""},
		"inventory reserve": {string(id[:]), bytesOf(place)},
		"payment pay":       {string(id[:]), bytesOf(reserve)},
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.spans) != len(want) {
		t.Errorf("got %q", c.spans)
	}
	for name, w := range want {
		if c.spans[name] != w {
			t.Errorf("%s: got %x, want %x", name, c.spans[name], w)
		}
	}
}

func TestACallerDecidesWhetherItsTraceIsRecorded(t *testing.T) {
	for name, c := range map[string]struct {
		ratio       float64
		traceparent string
		want        bool
	}{
		"a trace begun here, all recorded":      {1, "", true},
		"a trace begun here, none recorded":     {0, "", false},
		"a caller's, recorded, though none are": {0, example, true},
		"a caller's, not, though all are":       {1, example[:54] + "0", false},
	} {
		t.Run(name, func(t *testing.T) {
			_, addr := collect(t)
			tel, _ := configured(t, Settings{OTLPEndpoint: addr, SampleRatio: c.ratio})
			ctx, s := tel.Tracer().Start(WithTraceparent(t.Context(), c.traceparent), "x")
			if s.IsRecording() != c.want {
				t.Errorf("recording: %v", s.IsRecording())
			}
			if got := strings.HasSuffix(Traceparent(ctx), "-01"); got != c.want {
				t.Errorf("it tells the next one %q", Traceparent(ctx))
			}
			s.End()
			if err := tel.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWithoutAnEndpointTheTraceIDTravels(t *testing.T) {
	tel, out := configured(t, Settings{Format: "json"})
	ctx, s := tel.Tracer().Start(t.Context(), "place")
	if s.IsRecording() {
		t.Error("it records")
	}
	traceparent := Traceparent(ctx)
	if !strings.HasPrefix(traceparent, "00-") || !strings.HasSuffix(traceparent, "-00") {
		t.Fatalf("a new trace goes on as %q", traceparent)
	}
	next, inner := tel.TracerOf("payment").Start(WithTraceparent(t.Context(), traceparent), "pay")
	inner.End()
	if got := Traceparent(next); got[3:35] != traceparent[3:35] {
		t.Errorf("the next service is in trace %q, the first in %q", got, traceparent)
	}
	tel.Logger("payment").InfoContext(next, "paid")
	if !strings.Contains(out.String(), `"trace_id":"`+traceparent[3:35]+`"`) {
		t.Errorf("logged without its trace: %s", out)
	}
	other, _ := tel.Tracer().Start(t.Context(), "place")
	if Traceparent(other)[3:35] == traceparent[3:35] {
		t.Error("two traces have one id")
	}
}

func TestAfterShutdownASpanThatWasBegunIsNotEndedByItsChild(t *testing.T) {
	_, addr := collect(t)
	tel, _ := configured(t, Settings{OTLPEndpoint: addr, SampleRatio: 1})
	ctx, parent := tel.Tracer().Start(t.Context(), "parent")
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, child := tel.Tracer().Start(ctx, "child")
	child.End()
	if !parent.IsRecording() {
		t.Error("the child ended its parent")
	}
	if child.SpanContext().TraceID() != parent.SpanContext().TraceID() {
		t.Error("the child is in another trace")
	}
	parent.End()
}

func TestAnEndpointThatIsGoneHarmsNobody(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := lis.Addr().String()
	if err := lis.Close(); err != nil {
		t.Fatal(err)
	}
	tel, out := configured(t, Settings{Format: "json", OTLPEndpoint: addr, SampleRatio: 1})
	exporter := &reportingExporter{SpanExporter: refusing{}, t: tel, endpoint: addr}
	for range 3 {
		if err := exporter.ExportSpans(t.Context(), make([]sdk.ReadOnlySpan, 2)); err != nil {
			t.Errorf("an error for the process's global handler: %v", err)
		}
	}
	if got := strings.Count(out.String(), "traces are lost"); got != 1 {
		t.Errorf("it is said %d times, once is enough: %s", got, out)
	}
	w := httptest.NewRecorder()
	tel.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if !strings.Contains(w.Body.String(), "argosy_spans_lost_total 6") {
		t.Error("the spans that were lost are not counted")
	}
	_, s := tel.Tracer().Start(t.Context(), "x")
	s.End()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tel.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("spans that could not be sent: got %v", err)
	}
}

// refusing is a collector that takes nothing.
type refusing struct{}

func (refusing) ExportSpans(context.Context, []sdk.ReadOnlySpan) error { return errors.New("no route") }
func (refusing) Shutdown(context.Context) error                        { return nil }

func TestTheRatioIsHeld(t *testing.T) {
	_, addr := collect(t)
	tel, _ := configured(t, Settings{OTLPEndpoint: addr, SampleRatio: 0.25})
	recorded := 0
	const tries = 2000
	for range tries {
		if _, s := tel.Tracer().Start(t.Context(), "x"); s.IsRecording() {
			recorded++
		}
	}
	if recorded < tries/5 || recorded > tries*3/10 { // five sigma on each side
		t.Errorf("%d of %d are recorded, want a quarter", recorded, tries)
	}
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestASecondConfigurationOfTracesIsRefused(t *testing.T) {
	_, addr := collect(t)
	tel, _ := configured(t, Settings{OTLPEndpoint: addr})
	if err := tel.Configure(t.Context(), Settings{OTLPEndpoint: addr}); err == nil {
		t.Error("it was taken")
	}
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestNothingGlobalIsSet(t *testing.T) {
	before := otel.GetTracerProvider()
	_, addr := collect(t)
	tel, _ := configured(t, Settings{OTLPEndpoint: addr, SampleRatio: 1})
	if otel.GetTracerProvider() != before {
		t.Error("the global tracer provider changed")
	}
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestMetricsAreServed(t *testing.T) {
	tel := New(Config{Program: "shop", Output: &bytes.Buffer{}})
	w := httptest.NewRecorder()
	tel.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	body := w.Body.String()
	for _, want := range []string{"go_goroutines ", "process_start_time_seconds ", `argosy_build_info{go="go1.`, `program="shop"`} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in\n%s", want, body)
		}
	}
}
