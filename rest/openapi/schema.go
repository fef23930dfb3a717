package openapi

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	argosyv1 "github.com/argosy-go/argosy/proto/argosy/v1"
)

const schemaRef = "#/components/schemas/"

// schemas are the messages and enums that the operations use, by full name.
type schemas map[string]*schema

// message returns the schema of a message: of its own for a well-known type,
// else a reference to a component, made on first use.
func (s schemas) message(md protoreflect.MessageDescriptor) *schema {
	if known := wellKnown(md); known != nil {
		return known
	}
	name := string(md.FullName())
	if s[name] == nil {
		s[name] = &schema{} // first, for messages that hold themselves
		*s[name] = *s.object(md, nil)
	}
	return &schema{Ref: schemaRef + name}
}

// object returns the schema of a message, without the fields to skip.
func (s schemas) object(md protoreflect.MessageDescriptor, skip func(protoreflect.FieldDescriptor) bool) *schema {
	o := &schema{Type: "object", Description: comment(md), Deprecated: isDeprecated(md)}
	props := properties{}
	for i := range md.Fields().Len() {
		f := md.Fields().Get(i)
		if skip != nil && skip(f) {
			continue
		}
		p := s.field(f)
		for _, b := range behaviors(f) {
			switch b {
			case annotations.FieldBehavior_REQUIRED:
				o.Required = append(o.Required, f.JSONName())
			case annotations.FieldBehavior_OUTPUT_ONLY:
				p.ReadOnly = true
			case annotations.FieldBehavior_INPUT_ONLY:
				p.WriteOnly = true
			}
		}
		props = append(props, property{f.JSONName(), p})
	}
	if len(props) > 0 {
		o.Properties = &props
	}
	for i := range md.Oneofs().Len() {
		if of := md.Oneofs().Get(i); !of.IsSynthetic() && of.Fields().Len() > 1 {
			var names []string
			for j := range of.Fields().Len() {
				names = append(names, of.Fields().Get(j).JSONName())
			}
			o.Description = join(o.Description, "At most one of "+strings.Join(names, ", ")+" is set.")
		}
	}
	return o
}

// field returns the schema of a field, with what is said about it.
func (s schemas) field(f protoreflect.FieldDescriptor) *schema {
	var p *schema
	switch {
	case f.IsMap():
		p = &schema{Type: "object", AdditionalProperties: s.value(f.MapValue())}
	case f.IsList():
		p = &schema{Type: "array", Items: s.value(f)}
	default:
		p = s.value(f)
	}
	if text := comment(f); text != "" {
		p.Description = text
	}
	p.Deprecated = isDeprecated(f)
	p.WriteOnly = isSensitive(f)
	return p
}

// value returns the schema of one value of a field.
func (s schemas) value(f protoreflect.FieldDescriptor) *schema {
	switch f.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return s.message(f.Message())
	case protoreflect.EnumKind:
		return s.enum(f.Enum())
	default:
		return scalar(f.Kind())
	}
}

func (s schemas) enum(ed protoreflect.EnumDescriptor) *schema {
	if ed.FullName() == "google.protobuf.NullValue" {
		return &schema{Type: "null"}
	}
	name := string(ed.FullName())
	if s[name] == nil {
		e := &schema{Type: "string", Description: comment(ed), Deprecated: isDeprecated(ed)}
		var said []string
		for i := range ed.Values().Len() {
			v := ed.Values().Get(i)
			e.Enum = append(e.Enum, string(v.Name()))
			if text := comment(v); text != "" {
				said = append(said, fmt.Sprintf("- `%s`: %s", v.Name(), strings.ReplaceAll(text, "\n", " ")))
			}
		}
		e.Description = join(e.Description, strings.Join(said, "\n"))
		s[name] = e
	}
	return &schema{Ref: schemaRef + name}
}

func scalar(k protoreflect.Kind) *schema {
	switch k {
	case protoreflect.BoolKind:
		return &schema{Type: "boolean"}
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return &schema{Type: "integer", Format: "int32"}
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		least, most := int64(0), int64(1<<32-1)
		return &schema{Type: "integer", Format: "int64", Minimum: &least, Maximum: &most}
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return &schema{Type: "string", Format: "int64"}
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return &schema{Type: "string", Format: "uint64"}
	case protoreflect.FloatKind:
		return &schema{Type: "number", Format: "float"}
	case protoreflect.DoubleKind:
		return &schema{Type: "number", Format: "double"}
	case protoreflect.BytesKind:
		return &schema{Type: "string", ContentEncoding: "base64"}
	default:
		return &schema{Type: "string"}
	}
}

// wellKnown returns the schema of a message whose JSON is not an object of its
// fields, or nil.
func wellKnown(md protoreflect.MessageDescriptor) *schema {
	if md.ParentFile().Package() != "google.protobuf" {
		return nil
	}
	switch md.Name() {
	case "Timestamp":
		return &schema{Type: "string", Format: "date-time"}
	case "Duration":
		return &schema{Type: "string", Pattern: `^-?[0-9]+(\.[0-9]{1,9})?s$`}
	case "FieldMask":
		return &schema{Type: "string", Description: "Paths of fields, separated by commas."}
	case "Empty":
		return &schema{Type: "object"}
	case "Struct":
		return &schema{Type: "object", AdditionalProperties: &schema{}}
	case "Value":
		return &schema{Description: "Any JSON value."}
	case "ListValue":
		return &schema{Type: "array", Items: &schema{}}
	case "Any":
		return &schema{
			Type: "object", AdditionalProperties: &schema{},
			Properties: &properties{{"@type", &schema{Type: "string", Description: "The URL of the message's type."}}},
		}
	}
	if v := md.Fields().ByName("value"); v != nil && strings.HasSuffix(string(md.Name()), "Value") {
		return scalar(v.Kind())
	}
	return nil
}

// isSingle reports whether a message is written as one value, so that it can be
// a parameter.
func isSingle(md protoreflect.MessageDescriptor) bool {
	s := wellKnown(md)
	return s != nil && s.Type != "" && s.Type != "object" && s.Type != "array"
}

func behaviors(f protoreflect.FieldDescriptor) []annotations.FieldBehavior {
	opts, ok := f.Options().(*descriptorpb.FieldOptions)
	if !ok {
		return nil
	}
	b, _ := proto.GetExtension(opts, annotations.E_FieldBehavior).([]annotations.FieldBehavior)
	return slices.Clone(b)
}

func isSensitive(f protoreflect.FieldDescriptor) bool {
	opts, ok := f.Options().(*descriptorpb.FieldOptions)
	return ok && proto.GetExtension(opts, argosyv1.E_Sensitive) == true
}

func isDeprecated(d protoreflect.Descriptor) bool {
	o, ok := d.Options().(interface{ GetDeprecated() bool })
	return ok && o.GetDeprecated()
}

// comment returns what stands above a declaration, or else beside it.
func comment(d protoreflect.Descriptor) string {
	at := d.ParentFile().SourceLocations().ByDescriptor(d)
	text := at.LeadingComments
	if strings.TrimSpace(text) == "" {
		text = at.TrailingComments
	}
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(strings.TrimPrefix(l, " "), " \t")
	}
	return strings.Join(lines, "\n")
}

// join puts two paragraphs together.
func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "\n\n" + b
}
