package telemetry

import (
	"strings"
	"testing"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

const example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestTraceparentsThatAreRefused(t *testing.T) {
	for name, s := range map[string]string{
		"empty":                       "",
		"too short":                   example[:54],
		"too long for version 00":     example + "-x",
		"a later version run on":      "01" + example[2:] + "x",
		"version ff":                  "ff" + example[2:],
		"upper case":                  strings.ToUpper(example),
		"no trace id":                 "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
		"no span id":                  "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
		"underscores between":         strings.ReplaceAll(example, "-", "_"),
		"not hex in the trace id":     strings.Replace(example, "4bf9", "4bgz", 1),
		"not hex in the flags":        example[:53] + "0x",
		"a line break in the flags":   example[:54] + "\n",
		"a minus sign in the version": "-1" + example[2:],
	} {
		t.Run(name, func(t *testing.T) {
			if got := Traceparent(WithTraceparent(t.Context(), s)); got != "" {
				t.Errorf("%q became %q", s, got)
			}
			inner := WithTraceparent(WithTraceparent(t.Context(), example), s)
			if got := Traceparent(inner); got != example {
				t.Errorf("it replaced the trace of the context: %q", got)
			}
		})
	}
}

func TestTraceparentsThatAreTaken(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"sampled":               {example, example},
		"not sampled":           {example[:54] + "0", example[:54] + "0"},
		"a flag of the future":  {example[:53] + "09", example},
		"a later version":       {"cc" + example[2:], example},
		"a later version, more": {"cc" + example[2:] + "-what-the-future-holds", example},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := WithTraceparent(t.Context(), c.in)
			if got := Traceparent(ctx); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if !trace.SpanContextFromContext(ctx).IsRemote() {
				t.Error("a span that came from elsewhere is remote")
			}
		})
	}
}

// FuzzTraceparent compares ours with OpenTelemetry's own propagator, which is
// stricter in one thing: of version 00 it refuses flags that it does not know,
// where the standard has a reader ignore them.
func FuzzTraceparent(f *testing.F) {
	for _, s := range []string{example, "cc" + example[2:] + "-x", "ff" + example[2:], example[:53] + "ff", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ctx := WithTraceparent(t.Context(), s)
		got := trace.SpanContextFromContext(ctx)
		known := s
		if got.IsValid() && s[:2] == "00" {
			known = s[:atFlags] + got.TraceFlags().String()
		}
		want := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(t.Context(), propagation.MapCarrier{"traceparent": known}))
		if !got.Equal(want) {
			t.Errorf("%q is %v to us and %v to OpenTelemetry", s, got, want)
		}
		sent := propagation.MapCarrier{}
		propagation.TraceContext{}.Inject(ctx, sent)
		if got := Traceparent(ctx); got != sent["traceparent"] {
			t.Errorf("%q goes on as %q, OpenTelemetry would send %q", s, got, sent["traceparent"])
		}
	})
}
