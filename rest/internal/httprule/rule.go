package httprule

import (
	"fmt"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Rule is one HTTP binding of a method.
type Rule struct {
	// Verb is the HTTP method, in upper case.
	Verb string
	// Path is the template as written.
	Path string
	// Template is Path, parsed.
	Template Template
	// Body is "*" for the whole message, the name of a field, or empty.
	Body string
	// ResponseBody is the field of the response that is the body, or empty.
	ResponseBody string
}

// Of returns the bindings of a method, the additional ones after the first.
// None: the method is not served over HTTP.
func Of(m protoreflect.MethodDescriptor) ([]Rule, error) {
	opts, ok := m.Options().(*descriptorpb.MethodOptions)
	if !ok || !proto.HasExtension(opts, annotations.E_Http) {
		return nil, nil
	}
	main, ok := proto.GetExtension(opts, annotations.E_Http).(*annotations.HttpRule)
	if !ok || main == nil {
		return nil, nil
	}
	var rules []Rule
	for i, h := range append([]*annotations.HttpRule{main}, main.GetAdditionalBindings()...) {
		if i > 0 && len(h.GetAdditionalBindings()) > 0 {
			return nil, fmt.Errorf("%s: additional_bindings inside additional_bindings", m.FullName())
		}
		r, err := ruleOf(h)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.FullName(), err)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

func ruleOf(h *annotations.HttpRule) (Rule, error) {
	r := Rule{Body: h.GetBody(), ResponseBody: h.GetResponseBody()}
	switch p := h.GetPattern().(type) {
	case *annotations.HttpRule_Get:
		r.Verb, r.Path = "GET", p.Get
	case *annotations.HttpRule_Put:
		r.Verb, r.Path = "PUT", p.Put
	case *annotations.HttpRule_Post:
		r.Verb, r.Path = "POST", p.Post
	case *annotations.HttpRule_Delete:
		r.Verb, r.Path = "DELETE", p.Delete
	case *annotations.HttpRule_Patch:
		r.Verb, r.Path = "PATCH", p.Patch
	case *annotations.HttpRule_Custom:
		r.Verb, r.Path = p.Custom.GetKind(), p.Custom.GetPath()
	}
	if !isMethod(r.Verb) {
		return Rule{}, fmt.Errorf("google.api.http: %q is not an HTTP method in upper case", r.Verb)
	}
	if (r.Verb == "GET" || r.Verb == "HEAD") && r.Body != "" {
		return Rule{}, fmt.Errorf("google.api.http: %s with a body", r.Verb)
	}
	var err error
	r.Template, err = Parse(r.Path)
	return r, err
}

func isMethod(s string) bool {
	for i := range len(s) {
		if s[i] < 'A' || s[i] > 'Z' {
			return false
		}
	}
	return s != ""
}
