package rest

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/argosy-go/argosy/fault"
)

const fieldMaskName = "google.protobuf.FieldMask"

// maxPathDepth bounds the nesting of a query parameter's name.
const maxPathDepth = 16

// bindPath sets the fields that the path names.
func (rt *route) bindPath(msg protoreflect.Message, p *path) error {
	for _, b := range rt.vars {
		if err := setField(msg, b.field, p.value(rt.rule.Template, b.variable)); err != nil {
			return fault.Invalid(b.field.String(), "in the path: %v", err)
		}
	}
	return nil
}

// bindQuery sets the fields that the query names. The parameters are bound in
// the order of their names, so that the same request always has the same answer.
func (rt *route) bindQuery(msg protoreflect.Message, raw string, allowUnknown bool) error {
	if raw == "" {
		return nil
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return fault.Invalid("query", "is not validly escaped")
	}
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	seen := make(map[string]string, len(values))
	for _, name := range names {
		if err := rt.bindParameter(msg, name, values[name], seen, allowUnknown); err != nil {
			return err
		}
	}
	return nil
}

// bindParameter sets one field from its query parameter. seen holds the names
// under which fields were set before.
func (rt *route) bindParameter(msg protoreflect.Message, name string, values []string, seen map[string]string, allowUnknown bool) error {
	dotted, key, isEntry := cutEntry(name)
	var fp fieldPath
	err := errors.New("the path is too deep")
	if strings.Count(dotted, ".") < maxPathDepth {
		fp, err = findField(msg.Descriptor(), dotted)
	}
	switch {
	case (err != nil || rt.bodyAll) && allowUnknown:
		return nil
	case err != nil, rt.bodyAll:
		return fault.Invalid(clip(name), "unknown query parameter")
	}
	for _, b := range rt.bound {
		if !fp.overlaps(b) {
			continue
		}
		if allowUnknown {
			return nil
		}
		return fault.Invalid(fp.String(), "is not a query parameter of this method: the path or the body says it")
	}
	canonical := fp.String()
	if isEntry {
		canonical += "[" + key + "]"
	}
	if other, ok := seen[canonical]; ok {
		return fault.Invalid(canonical, "is given twice, as %q and as %q", clip(other), clip(name))
	}
	seen[canonical] = name
	if err := setParameter(msg, fp, key, isEntry, values); err != nil {
		return fault.Invalid(canonical, "%v", err)
	}
	return nil
}

// cutEntry takes apart the name of an entry of a map: "labels[colour]".
func cutEntry(name string) (dotted, key string, ok bool) {
	if !strings.HasSuffix(name, "]") {
		return name, "", false
	}
	i := strings.IndexByte(name, '[')
	if i < 0 {
		return name, "", false
	}
	return name[:i], name[i+1 : len(name)-1], true
}

func setParameter(msg protoreflect.Message, fp fieldPath, key string, isEntry bool, values []string) error {
	leaf := fp.leaf()
	switch {
	case isEntry != leaf.IsMap():
		if leaf.IsMap() {
			return errors.New("is a map: write it as name[key]=value")
		}
		return errors.New("is not a map")
	case leaf.IsList():
		m, err := descend(msg, fp)
		if err != nil {
			return err
		}
		list := m.Mutable(leaf).List()
		for i, s := range values {
			v, err := parse(leaf, s)
			if err != nil {
				return fmt.Errorf("value %d: %w", i+1, err)
			}
			list.Append(v)
		}
		return nil
	case len(values) != 1:
		return fmt.Errorf("takes one value, not %d", len(values))
	case leaf.IsMap():
		k, err := parse(leaf.MapKey(), key)
		if err != nil {
			return fmt.Errorf("key: %w", err)
		}
		v, err := parse(leaf.MapValue(), values[0])
		if err != nil {
			return err
		}
		m, err := descend(msg, fp)
		if err != nil {
			return err
		}
		m.Mutable(leaf).Map().Set(k.MapKey(), v)
		return nil
	}
	return setField(msg, fp, values[0])
}

// descend returns the message that holds the leaf, made where it is missing.
// Setting a second member of a oneof is refused.
func descend(msg protoreflect.Message, fp fieldPath) (protoreflect.Message, error) {
	for i, f := range fp {
		if of := f.ContainingOneof(); of != nil && !of.IsSynthetic() {
			if set := msg.WhichOneof(of); set != nil && set.Number() != f.Number() {
				return nil, fmt.Errorf("excludes %s, which is set too", set.JSONName())
			}
		}
		if i < len(fp)-1 {
			msg = msg.Mutable(f).Message()
		}
	}
	return msg, nil
}

// setField sets a field that holds a single value.
func setField(msg protoreflect.Message, fp fieldPath, s string) error {
	m, err := descend(msg, fp)
	if err != nil {
		return err
	}
	v, err := parse(fp.leaf(), s)
	if err != nil {
		return err
	}
	m.Set(fp.leaf(), v)
	return nil
}

// parse reads the text of one value of a field. Its errors do not repeat the
// text: it may be long, or secret.
func parse(f protoreflect.FieldDescriptor, s string) (protoreflect.Value, error) {
	switch f.Kind() {
	case protoreflect.StringKind:
		if !utf8.ValidString(s) {
			return protoreflect.Value{}, errors.New("is not valid UTF-8")
		}
		return protoreflect.ValueOfString(s), nil
	case protoreflect.BoolKind:
		switch s {
		case "true", "1":
			return protoreflect.ValueOfBool(true), nil
		case "false", "0":
			return protoreflect.ValueOfBool(false), nil
		}
		return protoreflect.Value{}, errors.New(`is not "true" or "false"`)
	case protoreflect.EnumKind:
		return parseEnum(f.Enum(), s)
	case protoreflect.BytesKind:
		b, err := parseBytes(s)
		return protoreflect.ValueOfBytes(b), err
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return parseMessage(f, s)
	}
	return parseNumber(f.Kind(), s)
}

func parseNumber(kind protoreflect.Kind, s string) (protoreflect.Value, error) {
	var v protoreflect.Value
	var err error
	switch kind {
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		var n int64
		n, err = strconv.ParseInt(s, 10, 32)
		v = protoreflect.ValueOfInt32(int32(n))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		var n int64
		n, err = strconv.ParseInt(s, 10, 64)
		v = protoreflect.ValueOfInt64(n)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		var n uint64
		n, err = strconv.ParseUint(s, 10, 32)
		v = protoreflect.ValueOfUint32(uint32(n))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		var n uint64
		n, err = strconv.ParseUint(s, 10, 64)
		v = protoreflect.ValueOfUint64(n)
	case protoreflect.FloatKind:
		var n float64
		n, err = parseFloat(s, 32)
		v = protoreflect.ValueOfFloat32(float32(n))
	default:
		var n float64
		n, err = parseFloat(s, 64)
		v = protoreflect.ValueOfFloat64(n)
	}
	if errors.Is(err, strconv.ErrRange) {
		return v, fmt.Errorf("is out of the range of %s", kind)
	}
	if err != nil {
		return v, fmt.Errorf("is not a number of kind %s", kind)
	}
	return v, nil
}

// parseFloat reads a number, or one of the three names that JSON gives to what
// is not one.
func parseFloat(s string, bits int) (float64, error) {
	switch s {
	case "NaN":
		return math.NaN(), nil
	case "Infinity":
		return math.Inf(1), nil
	case "-Infinity":
		return math.Inf(-1), nil
	}
	if strings.ContainsAny(s, "xXpPnN_") { // hexadecimal, inf, nan
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseFloat(s, bits)
}

func parseEnum(ed protoreflect.EnumDescriptor, s string) (protoreflect.Value, error) {
	if v := ed.Values().ByName(protoreflect.Name(s)); v != nil {
		return protoreflect.ValueOfEnum(v.Number()), nil
	}
	if n, err := strconv.ParseInt(s, 10, 32); err == nil {
		if v := ed.Values().ByNumber(protoreflect.EnumNumber(n)); v != nil {
			return protoreflect.ValueOfEnum(v.Number()), nil
		}
	}
	return protoreflect.Value{}, fmt.Errorf("is not a value of %s", ed.Name())
}

// parseBytes reads base64, standard or for URLs, padded or not.
func parseBytes(s string) ([]byte, error) {
	enc := base64.RawStdEncoding
	if strings.ContainsAny(s, "-_") {
		enc = base64.RawURLEncoding
	}
	if len(s)%4 == 0 {
		s = strings.TrimSuffix(strings.TrimSuffix(s, "="), "=")
	}
	b, err := enc.DecodeString(s)
	if err != nil {
		return nil, errors.New("is not base64")
	}
	return b, nil
}

// isScalarMessage reports whether a message is written as a single value.
func isScalarMessage(md protoreflect.MessageDescriptor) bool {
	switch md.FullName() {
	case fieldMaskName, "google.protobuf.Timestamp", "google.protobuf.Duration":
		return true
	}
	return isWrapper(md)
}

func isWrapper(md protoreflect.MessageDescriptor) bool {
	return md.ParentFile().Path() == "google/protobuf/wrappers.proto"
}

// parseMessage reads the well-known types that are written as one value.
func parseMessage(f protoreflect.FieldDescriptor, s string) (protoreflect.Value, error) {
	md := f.Message()
	switch {
	case md.FullName() == fieldMaskName:
		return parseMask(s)
	case isWrapper(md):
		value := md.Fields().ByName("value")
		v, err := parse(value, s)
		if err != nil {
			return v, err
		}
		m, err := newMessage(md)
		if err != nil {
			return protoreflect.Value{}, err
		}
		m.Set(value, v)
		return protoreflect.ValueOfMessage(m), nil
	case isScalarMessage(md):
		m, err := newMessage(md)
		if err != nil {
			return protoreflect.Value{}, err
		}
		if err := protojson.Unmarshal(strconv.AppendQuote(nil, s), m.Interface()); err != nil {
			if md.Name() == "Timestamp" {
				return protoreflect.Value{}, errors.New(`is not a time, as "2006-01-02T15:04:05Z"`)
			}
			return protoreflect.Value{}, errors.New(`is not a duration in seconds, as "1.5s"`)
		}
		return protoreflect.ValueOfMessage(m), nil
	}
	return protoreflect.Value{}, fmt.Errorf("is a message: name a field of it, as in %s.field", f.JSONName())
}

func newMessage(md protoreflect.MessageDescriptor) (protoreflect.Message, error) {
	t, err := protoregistry.GlobalTypes.FindMessageByName(md.FullName())
	if err != nil {
		return nil, fmt.Errorf("has a type that is not linked: %s", md.FullName())
	}
	return t.New(), nil
}

// parseMask reads the paths of a field mask, as the contract or as JSON spells them.
func parseMask(s string) (protoreflect.Value, error) {
	mask := &fieldmaskpb.FieldMask{}
	for p := range strings.SplitSeq(s, ",") {
		if p == "" {
			return protoreflect.Value{}, errors.New("holds an empty path")
		}
		if !utf8.ValidString(p) {
			return protoreflect.Value{}, errors.New("is not valid UTF-8")
		}
		mask.Paths = append(mask.Paths, snake(p))
	}
	return protoreflect.ValueOfMessage(mask.ProtoReflect()), nil
}

// snake turns "unitPrice.currencyCode" into "unit_price.currency_code".
func snake(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; 'A' <= c && c <= 'Z' {
			b.WriteByte('_')
			b.WriteByte(c + 'a' - 'A')
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// clip shortens what a caller sent, before it is sent back.
func clip(s string) string {
	const most = 64
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= most {
		return s
	}
	cut := most
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
