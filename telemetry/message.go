package telemetry

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"slices"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// withoutSecrets returns a record whose messages are blanked where their
// contracts say so, when they are written: see [Redact].
func withoutSecrets(r slog.Record) slog.Record {
	found := false
	r.Attrs(func(a slog.Attr) bool {
		found = hasMessage(a.Value)
		return !found
	})
	if !found {
		return r
	}
	clean := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(blank(a))
		return true
	})
	return clean
}

// hasMessage reports whether there may be a message in a value: one that is
// computed when it is written may give one.
func hasMessage(v slog.Value) bool {
	switch v.Kind() {
	case slog.KindAny:
		_, ok := v.Any().(proto.Message)
		return ok
	case slog.KindGroup:
		return slices.ContainsFunc(v.Group(), func(a slog.Attr) bool { return hasMessage(a.Value) })
	}
	return v.Kind() == slog.KindLogValuer
}

func blankAll(attrs []slog.Attr) []slog.Attr {
	clean := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		clean[i] = blank(a)
	}
	return clean
}

func blank(a slog.Attr) slog.Attr {
	if !hasMessage(a.Value) {
		return a
	}
	a.Value = a.Value.Resolve()
	switch a.Value.Kind() {
	case slog.KindGroup:
		a.Value = slog.GroupValue(blankAll(a.Value.Group())...)
	case slog.KindAny:
		if m, ok := a.Value.Any().(proto.Message); ok {
			a.Value = slog.AnyValue(message{m})
		}
	}
	return a
}

// message is a protobuf message in a log: an object in JSON, and the same text
// for a person.
type message struct{ m proto.Message }

// MarshalJSON implements [json.Marshaler].
func (m message) MarshalJSON() ([]byte, error) { return protojson.Marshal(Redact(m.m)) }

// String implements [fmt.Stringer].
func (m message) String() string {
	text, err := m.MarshalJSON()
	if err != nil {
		return "(a message that has no JSON: " + err.Error() + ")"
	}
	var b bytes.Buffer // protojson spaces its output at random
	if json.Compact(&b, text) != nil {
		return string(text)
	}
	return b.String()
}
