package telemetry

import (
	"context"
	"io"
	"log/slog"
	"testing"

	"github.com/argosy-go/argosy/telemetry/internal/testpb"
)

// BenchmarkSpan is a span that nobody records.
func BenchmarkSpan(b *testing.B) {
	tracer := New(Config{Output: io.Discard}).Tracer()
	for name, ctx := range map[string]context.Context{
		"new trace":     b.Context(),
		"within one":    WithTraceparent(b.Context(), example),
		"not recorded ": WithTraceparent(b.Context(), example[:54]+"0"),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, s := tracer.Start(ctx, "x")
				s.End()
			}
		})
	}
}

func BenchmarkTraceparent(b *testing.B) {
	ctx := WithTraceparent(b.Context(), example)
	b.Run("send", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Traceparent(ctx)
		}
	})
	b.Run("receive", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			WithTraceparent(context.Background(), example)
		}
	})
}

func BenchmarkLog(b *testing.B) {
	tel := New(Config{Output: io.Discard})
	late, plain := tel.Logger("order"), slog.New(slog.NewJSONHandler(io.Discard, nil)).With("service", "order")
	traced := WithTraceparent(b.Context(), example)
	for name, f := range map[string]func(){
		"slog":          func() { plain.InfoContext(b.Context(), "placed", "order", "o1") },
		"ours":          func() { late.InfoContext(b.Context(), "placed", "order", "o1") },
		"ours traced":   func() { late.InfoContext(traced, "placed", "order", "o1") },
		"ours disabled": func() { late.DebugContext(traced, "placed", "order", "o1") },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
		})
	}
}

func BenchmarkRedact(b *testing.B) {
	m := &testpb.Secret{Plain: "a", Password: "b", Child: &testpb.Secret{Plain: "c"}}
	b.ReportAllocs()
	for b.Loop() {
		Redact(m)
	}
}
