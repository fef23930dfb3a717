package rest

import (
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// marshal writes zero values too, so that a reader finds every scalar and every
// list; only messages that are not set are absent.
var marshal = protojson.MarshalOptions{EmitDefaultValues: true}

// encode appends the JSON of a response, or of the field of it that the route
// names. The same message has the same bytes in every build.
func (rt *route) encode(b []byte, msg protoreflect.Message) ([]byte, error) {
	if f := rt.response; f != nil {
		if f.Message() == nil || f.IsList() || f.IsMap() {
			return encodeField(b, msg, f)
		}
		msg = msg.Get(f).Message()
	}
	start := len(b)
	b, err := marshal.MarshalAppend(b, msg.Interface())
	if err != nil {
		return b[:start], fmt.Errorf("encode %s: %w", msg.Descriptor().FullName(), err)
	}
	return b[:start+len(squeeze(b[start:]))], nil
}

// encodeField appends the JSON of a list, a map or a scalar.
func encodeField(b []byte, msg protoreflect.Message, f protoreflect.FieldDescriptor) ([]byte, error) {
	alone := msg.New()
	if msg.Has(f) {
		alone.Set(f, msg.Get(f))
	}
	whole, err := marshal.Marshal(alone.Interface())
	if err != nil {
		return b, fmt.Errorf("encode %s: %w", f.FullName(), err)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(whole, &fields); err != nil {
		return b, fmt.Errorf("encode %s: %w", f.FullName(), err)
	}
	value, ok := fields[f.JSONName()]
	if !ok { // an optional scalar that is not set
		value = json.RawMessage("null")
	}
	return append(b, squeeze(value)...), nil
}

// squeeze removes, in place, the spaces outside strings that protojson puts in
// to keep its output from being relied on.
func squeeze(b []byte) []byte {
	w := 0
	for r := 0; r < len(b); {
		switch b[r] {
		case '"':
			end := stringEnd(b, r)
			if w != r {
				copy(b[w:], b[r:end])
			}
			w += end - r
			r = end
		case ' ':
			r++
		default:
			b[w] = b[r]
			w++
			r++
		}
	}
	return b[:w]
}
