package telemetry

import (
	"context"
	"encoding/hex"

	"go.opentelemetry.io/otel/trace"
)

// traceparent is 00-<trace id>-<span id>-<flags> in lower case hex:
// https://www.w3.org/TR/trace-context/
const (
	traceparentSize = 55
	atTrace         = 3
	atSpan          = 36
	atFlags         = 53
)

// Traceparent returns the trace that ctx is part of, as the W3C header of that
// name: what to send along with a call, an event or a saga. Empty: none.
func Traceparent(ctx context.Context) string {
	sc := trace.SpanContextFromContext(ctx)
	if !sc.IsValid() {
		return ""
	}
	traceID, spanID, flags := sc.TraceID(), sc.SpanID(), [1]byte{byte(sc.TraceFlags())}
	var b [traceparentSize]byte
	copy(b[:], "00-")
	hex.Encode(b[atTrace:], traceID[:])
	b[atSpan-1] = '-'
	hex.Encode(b[atSpan:], spanID[:])
	b[atFlags-1] = '-'
	hex.Encode(b[atFlags:], flags[:])
	return string(b[:])
}

// WithTraceparent returns a context that continues the trace of a traceparent
// that came with a call, an event or a saga. One that is empty or malformed
// leaves ctx as it is.
func WithTraceparent(ctx context.Context, traceparent string) context.Context {
	sc, ok := parseTraceparent(traceparent)
	if !ok {
		return ctx
	}
	return trace.ContextWithRemoteSpanContext(ctx, sc)
}

func parseTraceparent(s string) (sc trace.SpanContext, ok bool) {
	if len(s) < traceparentSize || s[2] != '-' || s[atSpan-1] != '-' || s[atFlags-1] != '-' {
		return sc, false
	}
	var version, flags [1]byte
	var c trace.SpanContextConfig
	if !unhex(version[:], s[:2]) || !unhex(c.TraceID[:], s[atTrace:atSpan-1]) ||
		!unhex(c.SpanID[:], s[atSpan:atFlags-1]) || !unhex(flags[:], s[atFlags:traceparentSize]) {
		return sc, false
	}
	// A later version may have more fields, after another hyphen.
	if version[0] == 0xff || len(s) > traceparentSize && (version[0] == 0 || s[traceparentSize] != '-') {
		return sc, false
	}
	c.TraceFlags = trace.TraceFlags(flags[0]) & (trace.FlagsSampled | trace.FlagsRandom)
	sc = trace.NewSpanContext(c)
	return sc, sc.IsValid()
}

// unhex decodes lower case hex, exactly len(to) bytes of it.
func unhex(to []byte, s string) bool {
	for i := range to {
		hi, ok1 := nibble(s[2*i])
		lo, ok2 := nibble(s[2*i+1])
		if !ok1 || !ok2 {
			return false
		}
		to[i] = hi<<4 | lo
	}
	return true
}

func nibble(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}
