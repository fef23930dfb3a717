package telemetry

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"

	"github.com/lmittmann/tint"
	"go.opentelemetry.io/otel/trace"
)

// newHandler returns the handler that writes to out as the settings say.
func newHandler(out io.Writer, s Settings) (slog.Handler, error) {
	level := slog.LevelInfo
	if s.Level != "" {
		if err := level.UnmarshalText([]byte(s.Level)); err != nil {
			return nil, fmt.Errorf("%w: log level %q: use debug, info, warn or error", errSettings, s.Level)
		}
	}
	terminal := isTerminal(out)
	switch format := s.Format; {
	case format == "json", (format == "" || format == "auto") && !terminal:
		return slog.NewJSONHandler(out, &slog.HandlerOptions{Level: level}), nil
	case format == "console", format == "" || format == "auto":
		return tint.NewTextHandler(out, &tint.Options{
			Level: level, TimeFormat: "15:04:05.000", NoColor: s.NoColor || !terminal,
		}), nil
	}
	return nil, fmt.Errorf("%w: log format %q: use json, console or auto", errSettings, s.Format)
}

func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// lateHandler sends records to what its Telemetry's root is at the time, with
// the attributes and groups that were given to the logger before.
type lateHandler struct {
	t     *Telemetry
	with  []func(slog.Handler) slog.Handler
	group int // where in with the first group opens; len(with) when none does
	bound atomic.Pointer[boundHandler]
}

// boundHandler is a root with the attributes and groups of a lateHandler.
type boundHandler struct {
	root    *slog.Handler
	handler slog.Handler
}

func (h *lateHandler) bind() slog.Handler {
	root := h.t.root.Load()
	if b := h.bound.Load(); b != nil && b.root == root {
		return b.handler
	}
	b := &boundHandler{root, h.apply(*root, nil)}
	h.bound.Store(b)
	return b.handler
}

// apply returns the handler with what the logger was given; ids come before
// the first group, because they belong to the line.
func (h *lateHandler) apply(to slog.Handler, ids []slog.Attr) slog.Handler {
	for i, with := range h.with {
		if i == h.group {
			to = to.WithAttrs(ids)
		}
		to = with(to)
	}
	return to
}

// Enabled implements [slog.Handler].
func (h *lateHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return (*h.t.root.Load()).Enabled(ctx, l)
}

// Handle implements [slog.Handler].
func (h *lateHandler) Handle(ctx context.Context, r slog.Record) error {
	r = withoutSecrets(r)
	sc := trace.SpanContextFromContext(ctx)
	if !sc.IsValid() {
		return h.bind().Handle(ctx, r)
	}
	ids := []slog.Attr{slog.String("trace_id", sc.TraceID().String()), slog.String("span_id", sc.SpanID().String())}
	if h.group < len(h.with) {
		return h.apply(*h.t.root.Load(), ids).Handle(ctx, r)
	}
	r = r.Clone()
	r.AddAttrs(ids...)
	return h.bind().Handle(ctx, r)
}

// WithAttrs implements [slog.Handler].
func (h *lateHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return h
	}
	attrs = blankAll(attrs)
	group := h.group
	if group == len(h.with) {
		group++
	}
	return h.and(group, func(to slog.Handler) slog.Handler { return to.WithAttrs(attrs) })
}

// WithGroup implements [slog.Handler].
func (h *lateHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return h.and(h.group, func(to slog.Handler) slog.Handler { return to.WithGroup(name) })
}

func (h *lateHandler) and(group int, with func(slog.Handler) slog.Handler) slog.Handler {
	return &lateHandler{t: h.t, with: append(slices.Clip(h.with), with), group: group}
}
