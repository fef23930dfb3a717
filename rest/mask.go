package rest

import (
	"encoding/json"
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/argosy-go/argosy/fault"
)

// fillMask sets the update mask of a PATCH to the fields that its body names. A
// mask in the query replaces it afterwards. The body has been decoded before, so
// that it is valid.
func (rt *route) fillMask(msg protoreflect.Message, data []byte) error {
	if rt.mask == nil {
		return nil
	}
	var root any
	if err := json.Unmarshal(data, &root); err != nil {
		return fault.Invalid(rt.body.JSONName(), "is not valid JSON").Wrap(err)
	}
	paths := maskPaths(nil, "", root, rt.body.Message())
	slices.Sort(paths)
	msg.Set(rt.mask, protoreflect.ValueOfMessage((&fieldmaskpb.FieldMask{Paths: paths}).ProtoReflect()))
	return nil
}

// maskPaths appends the paths of the fields in an object. It goes into messages
// but not into lists, maps and the types that JSON writes in a way of their own.
func maskPaths(paths []string, prefix string, value any, md protoreflect.MessageDescriptor) []string {
	object, ok := value.(map[string]any)
	if !ok || len(object) == 0 {
		if prefix == "" { // nothing is named
			return paths
		}
		return append(paths, prefix)
	}
	for name, v := range object {
		f := md.Fields().ByJSONName(name)
		if f == nil {
			f = md.Fields().ByName(protoreflect.Name(name))
		}
		if f == nil { // let through by AllowUnknown
			continue
		}
		at := string(f.Name())
		if prefix != "" {
			at = prefix + "." + at
		}
		if f.Message() == nil || f.IsList() || f.IsMap() || isWellKnown(f.Message()) {
			paths = append(paths, at)
			continue
		}
		paths = maskPaths(paths, at, v, f.Message())
	}
	return paths
}

// isWellKnown reports whether a message has a JSON form of its own.
func isWellKnown(md protoreflect.MessageDescriptor) bool {
	return md.ParentFile().Package() == "google.protobuf"
}
