package rest

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/argosy-go/argosy/internal/sunset"
	argosyv1 "github.com/argosy-go/argosy/proto/argosy/v1"
	"github.com/argosy-go/argosy/rest/internal/httprule"
)

// defaultDeadline bounds a call whose contract sets no deadline.
const defaultDeadline = 10 * time.Second

// route is everything about one binding that can be known before a request
// comes.
type route struct {
	method  protoreflect.MethodDescriptor
	rule    httprule.Rule
	call    string // the full method name of gRPC, "/package.Service/Method"
	pattern string // "GET /v1/orders/{id}", for telemetry

	in, out  protoreflect.MessageType
	vars     []binding
	bound    []fieldPath                  // what path and body set, and the query therefore may not
	bodyAll  bool                         // the body is the whole message
	body     protoreflect.FieldDescriptor // or this field of it
	response protoreflect.FieldDescriptor // the field of the response that is the body; nil: all of it
	mask     protoreflect.FieldDescriptor // the field mask that a PATCH without one fills from its body
	etag     protoreflect.FieldDescriptor // the string field of the response that is its ETag

	clientStream, serverStream bool
	deadline                   time.Duration  // 0: none
	ending                     *sunset.Notice // nil: the method stays
}

// binding ties a variable of the path to a field.
type binding struct {
	variable httprule.Variable
	field    fieldPath
}

// newRoutes returns the routes of a method.
func newRoutes(m protoreflect.MethodDescriptor) ([]*route, error) {
	rules, err := httprule.Of(m)
	if err != nil || len(rules) == 0 {
		return nil, err
	}
	in, err := protoregistry.GlobalTypes.FindMessageByName(m.Input().FullName())
	if err != nil {
		return nil, fmt.Errorf("%s: the Go type of %s is not linked: %w", m.FullName(), m.Input().FullName(), err)
	}
	out, err := protoregistry.GlobalTypes.FindMessageByName(m.Output().FullName())
	if err != nil {
		return nil, fmt.Errorf("%s: the Go type of %s is not linked: %w", m.FullName(), m.Output().FullName(), err)
	}
	var routes []*route
	for _, rule := range rules {
		rt := &route{
			method: m, rule: rule, in: in, out: out,
			call:         "/" + string(m.Parent().FullName()) + "/" + string(m.Name()),
			pattern:      rule.Verb + " " + rule.Path,
			clientStream: m.IsStreamingClient(), serverStream: m.IsStreamingServer(),
		}
		if err := rt.resolve(); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", m.FullName(), rt.pattern, err)
		}
		routes = append(routes, rt)
	}
	return routes, nil
}

func (rt *route) resolve() error {
	if rt.clientStream && rt.serverStream {
		return fmt.Errorf("a stream in both directions cannot be served over HTTP; remove the google.api.http option")
	}
	if rt.clientStream && (rt.rule.Body != "*" || len(rt.rule.Template.Variables) > 0) {
		return fmt.Errorf(`a client stream needs body "*" and a path without variables`)
	}
	if rt.rule.Verb == "OPTIONS" {
		return fmt.Errorf("OPTIONS is answered by the edge itself")
	}
	fields := rt.in.Descriptor().Fields()
	for _, v := range rt.rule.Template.Variables {
		fp, err := findField(rt.in.Descriptor(), v.Field)
		if err != nil {
			return err
		}
		if leaf := fp.leaf(); leaf.IsList() || leaf.IsMap() || leaf.Message() != nil && !isScalarMessage(leaf.Message()) {
			return fmt.Errorf("%s cannot be bound to the path: it is not a single value", v.Field)
		}
		rt.vars = append(rt.vars, binding{v, fp})
		rt.bound = append(rt.bound, fp)
	}
	switch rt.rule.Body {
	case "":
	case "*":
		rt.bodyAll = true
	default:
		if rt.body = fields.ByName(protoreflect.Name(rt.rule.Body)); rt.body == nil {
			return fmt.Errorf("%s has no field %q to be the body", rt.in.Descriptor().FullName(), rt.rule.Body)
		}
		rt.bound = append(rt.bound, fieldPath{rt.body})
	}
	if name := rt.rule.ResponseBody; name != "" {
		if rt.response = rt.out.Descriptor().Fields().ByName(protoreflect.Name(name)); rt.response == nil {
			return fmt.Errorf("%s has no field %q to be the response body", rt.out.Descriptor().FullName(), name)
		}
	}
	if rt.rule.Verb == "PATCH" && rt.body != nil && rt.body.Message() != nil && !rt.body.IsList() && !rt.body.IsMap() {
		if f := fields.ByName("update_mask"); f != nil && f.Message() != nil && f.Message().FullName() == fieldMaskName && !f.IsList() {
			rt.mask = f
		}
	}
	if f := rt.out.Descriptor().Fields().ByName("etag"); f != nil && f.Kind() == protoreflect.StringKind && !f.IsList() {
		rt.etag = f
	}
	return rt.resolveOptions()
}

// resolveOptions reads what the contract says with Argosy's own options.
func (rt *route) resolveOptions() error {
	if !rt.clientStream && !rt.serverStream {
		rt.deadline = defaultDeadline
	}
	opts, ok := rt.method.Options().(*descriptorpb.MethodOptions)
	if !ok {
		return nil
	}
	if proto.HasExtension(opts, argosyv1.E_Deadline) {
		d, ok := proto.GetExtension(opts, argosyv1.E_Deadline).(*durationpb.Duration)
		if !ok || d.CheckValid() != nil || d.AsDuration() <= 0 {
			return fmt.Errorf("the deadline of the contract is not a positive duration")
		}
		rt.deadline = d.AsDuration()
	}
	var err error
	rt.ending, err = sunset.Of(rt.method)
	return err
}

// fieldPath is a field and the message fields that lead to it.
type fieldPath []protoreflect.FieldDescriptor

func (fp fieldPath) leaf() protoreflect.FieldDescriptor { return fp[len(fp)-1] }

// String returns the path as JSON names it.
func (fp fieldPath) String() string {
	if len(fp) == 1 {
		return fp[0].JSONName()
	}
	names := make([]string, len(fp))
	for i, f := range fp {
		names[i] = f.JSONName()
	}
	return strings.Join(names, ".")
}

// overlaps reports whether one of the two contains the other.
func (fp fieldPath) overlaps(other fieldPath) bool {
	for i := range min(len(fp), len(other)) {
		if fp[i].Number() != other[i].Number() {
			return false
		}
	}
	return true
}

// findField resolves a dotted path, each name as in the contract or as in JSON.
func findField(md protoreflect.MessageDescriptor, dotted string) (fieldPath, error) {
	var fp fieldPath
	for name := range strings.SplitSeq(dotted, ".") {
		if len(fp) > 0 {
			leaf := fp.leaf()
			if leaf.Message() == nil || leaf.IsList() || leaf.IsMap() {
				return nil, fmt.Errorf("%s is not a message", fp)
			}
			md = leaf.Message()
		}
		f := md.Fields().ByName(protoreflect.Name(name))
		if f == nil {
			f = md.Fields().ByJSONName(name)
		}
		if f == nil {
			return nil, fmt.Errorf("%s has no field %q", md.FullName(), name)
		}
		fp = append(fp, f)
	}
	return fp, nil
}
