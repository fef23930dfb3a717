package event

import (
	"fmt"
	"regexp"
	"strconv"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	argosyv1 "github.com/argosy-go/argosy/proto/argosy/v1"
)

// partitions is how many partitions a topic has.
const partitions = 4

// contract is what the options of a message say about it as an event.
type contract struct {
	kind  string // the full name of the message: ce-type
	topic string
	key   protoreflect.FieldDescriptor
	make  protoreflect.MessageType
}

var topicForm = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)

// contractOf reads the contract of M, which may be a nil pointer's type.
func contractOf[M proto.Message]() (contract, error) {
	var m M
	if any(m) == nil {
		return contract{}, fmt.Errorf("%T is an interface: give the generated type of the event", &m)
	}
	t := m.ProtoReflect().Type()
	c := contract{kind: string(t.Descriptor().FullName()), make: t}
	option, _ := proto.GetExtension(t.Descriptor().Options(), argosyv1.E_Event).(*argosyv1.Event)
	if option == nil {
		return c, fmt.Errorf(`%s is not an event: give the message option (argosy.v1.event) = {key: "…"}`, c.kind)
	}
	if c.topic = option.GetTopic(); c.topic == "" {
		c.topic = c.kind
	}
	if len(c.topic) > 200 || !topicForm.MatchString(c.topic) {
		return c, fmt.Errorf("%s: topic %q: use letters, digits, hyphens and underscores, separated by dots, at most 200", c.kind, c.topic)
	}
	var err error
	c.key, err = keyField(t.Descriptor(), option.GetKey())
	return c, err
}

func keyField(d protoreflect.MessageDescriptor, name string) (protoreflect.FieldDescriptor, error) {
	if name == "" {
		return nil, fmt.Errorf("%s: (argosy.v1.event).key is missing: name the field whose events stay in order", d.FullName())
	}
	f := d.Fields().ByName(protoreflect.Name(name))
	if f == nil {
		return nil, fmt.Errorf("%s: (argosy.v1.event).key names %q, which is no field of the message", d.FullName(), name)
	}
	if f.IsList() || f.IsMap() || !scalarKey(f.Kind()) {
		return nil, fmt.Errorf("%s: (argosy.v1.event).key names %q, which is neither a string nor an integer", d.FullName(), name)
	}
	return f, nil
}

func scalarKey(k protoreflect.Kind) bool {
	switch k {
	case protoreflect.StringKind,
		protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind,
		protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind,
		protoreflect.Uint32Kind, protoreflect.Fixed32Kind,
		protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return true
	}
	return false
}

// keyOf returns the key of m as text.
func (c contract) keyOf(m proto.Message) string {
	switch v := m.ProtoReflect().Get(c.key).Interface().(type) {
	case string:
		return v
	case int32:
		return strconv.FormatInt(int64(v), 10)
	case int64:
		return strconv.FormatInt(v, 10)
	case uint32:
		return strconv.FormatUint(uint64(v), 10)
	case uint64:
		return strconv.FormatUint(v, 10)
	}
	return ""
}

// partitionOf returns the partition of a key, the same in every process and release.
func partitionOf(key string) int { return int(xxhash.Sum64String(key) % partitions) }
