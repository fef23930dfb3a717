package telemetry

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/anypb"

	argosyv1 "github.com/argosy-go/argosy/proto/argosy/v1"
)

// Redacted is what stands in a sensitive string that is not empty.
const Redacted = "[redacted]"

// Redact returns a copy of m in which every field that its contract marks
// (argosy.v1.sensitive) is blank, at any depth: a string is [Redacted], all
// else is cleared. So are fields that this program's contract does not know,
// and the content of an Any whose type it does not know, since they may be
// sensitive. m is not changed; nil is nil.
func Redact(m proto.Message) proto.Message {
	if m == nil || !m.ProtoReflect().IsValid() {
		return m
	}
	c := proto.Clone(m)
	redact(c.ProtoReflect())
	return c
}

func redact(m protoreflect.Message) {
	m.SetUnknown(nil)
	if a, ok := m.Interface().(*anypb.Any); ok {
		redactAny(a)
		return
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case isSensitive(f):
			if f.Kind() == protoreflect.StringKind && f.Cardinality() != protoreflect.Repeated {
				m.Set(f, protoreflect.ValueOfString(Redacted))
			} else {
				m.Clear(f)
			}
		case f.IsMap():
			if f.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool { redact(v.Message()); return true })
			}
		case f.Message() == nil:
		case f.IsList():
			for i := range v.List().Len() {
				redact(v.List().Get(i).Message())
			}
		default:
			redact(v.Message())
		}
		return true
	})
}

func redactAny(a *anypb.Any) {
	inner, err := a.UnmarshalNew()
	if err != nil {
		a.Value = nil
		return
	}
	redact(inner.ProtoReflect())
	if a.Value, err = proto.Marshal(inner); err != nil {
		a.Value = nil
	}
}

func isSensitive(f protoreflect.FieldDescriptor) bool {
	o, ok := f.Options().(*descriptorpb.FieldOptions)
	return ok && proto.GetExtension(o, argosyv1.E_Sensitive).(bool)
}
