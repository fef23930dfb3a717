package openapi

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	argosyv1 "github.com/argosy-go/argosy/proto/argosy/v1"
	"github.com/argosy-go/argosy/rest/internal/httprule"
)

// Info is what a document says of itself.
type Info struct {
	// Title names the API. Empty: the package of the first file.
	Title string
	// Version of the API. Empty: the last part of that package, as "v1".
	Version string
	// Description is Markdown. Empty: the comments of the services.
	Description string
	// Contact names who answers for the API, ContactURL says where. Empty: none.
	Contact, ContactURL string
	// License is an SPDX identifier, as "Apache-2.0". Empty: none.
	License string
}

// Generate returns the OpenAPI 3.1 document of the methods that the services of
// the files serve over HTTP: nil when there are none. The same files have the
// same bytes. Comments are taken from the files' source locations.
func Generate(files []protoreflect.FileDescriptor, about Info) ([]byte, error) {
	g := &generator{
		schemas: schemas{}, parameters: map[string]*parameter{}, paths: map[string]string{},
		doc: document{OpenAPI: "3.1.0", Servers: []server{{"/"}}, Paths: map[string]pathItem{}},
	}
	for _, f := range files {
		for i := range f.Services().Len() {
			if err := g.service(f.Services().Get(i)); err != nil {
				return nil, fmt.Errorf("openapi: %w", err)
			}
		}
	}
	if len(g.doc.Paths) == 0 {
		return nil, nil
	}
	g.doc.Info = g.info(files[0], about)
	g.doc.Security = []map[string][]string{{"bearer": {}}}
	g.schemas["Problem"] = problem()
	g.doc.Components = components{
		Schemas:         g.schemas,
		Parameters:      g.parameters,
		Responses:       map[string]*response{"Problem": problemResponse()},
		SecuritySchemes: map[string]securityScheme{"bearer": {Type: "http", Scheme: "bearer"}},
	}
	return write(g.doc)
}

type generator struct {
	doc        document
	schemas    schemas
	parameters map[string]*parameter
	// paths maps the shape of a path to the path as it was first written: in
	// OpenAPI two paths may not differ in the names of their parameters alone.
	paths map[string]string
}

func (g *generator) info(first protoreflect.FileDescriptor, about Info) info {
	pkg := string(first.Package())
	last := pkg[strings.LastIndexByte(pkg, '.')+1:]
	in := info{
		Title: cmp.Or(about.Title, pkg), Version: cmp.Or(about.Version, last),
		Description: about.Description,
	}
	if in.Description == "" {
		for _, t := range g.doc.Tags {
			in.Description = join(in.Description, t.Description)
		}
	}
	if about.Contact != "" {
		in.Contact = &contact{about.Contact, about.ContactURL}
	}
	if about.License != "" {
		in.License = &license{about.License, about.License}
	}
	return in
}

func (g *generator) service(sd protoreflect.ServiceDescriptor) error {
	served := false
	for i := range sd.Methods().Len() {
		m := sd.Methods().Get(i)
		rules, err := httprule.Of(m)
		if err != nil {
			return err
		}
		for n, rule := range rules {
			served = true
			if err := g.operation(m, rule, n); err != nil {
				return fmt.Errorf("%s: %w", m.FullName(), err)
			}
		}
	}
	if served {
		g.doc.Tags = append(g.doc.Tags, tag{nameOf(sd), cmp.Or(comment(sd), string(sd.FullName()))})
	}
	return nil
}

// nameOf returns the name of a service, with its version from the second on:
// several may be served side by side, and operations need names of their own.
func nameOf(sd protoreflect.Descriptor) string {
	pkg := string(sd.ParentFile().Package())
	version := pkg[strings.LastIndexByte(pkg, '.')+1:]
	if n, err := strconv.Atoi(strings.TrimPrefix(version, "v")); err != nil || n < 2 || version[0] != 'v' {
		return string(sd.Name())
	}
	return string(sd.Name()) + "V" + version[1:]
}

// operation adds the n-th binding of a method.
func (g *generator) operation(m protoreflect.MethodDescriptor, rule httprule.Rule, n int) error {
	text := comment(m)
	op := &operation{
		OperationID: nameOf(m.Parent()) + "_" + string(m.Name()),
		Tags:        []string{nameOf(m.Parent())},
		Summary:     firstSentence(cmp.Or(text, string(m.Name()))), Description: cmp.Or(text, string(m.Name())),
		Deprecated: isDeprecated(m),
	}
	if n > 0 {
		op.OperationID += fmt.Sprintf("_%d", n+1)
	}
	key, params, err := g.path(m.Input(), rule.Template)
	if err != nil {
		return err
	}
	op.Parameters = params
	if err := g.request(op, m, rule); err != nil {
		return err
	}
	if err := g.answer(op, m, rule); err != nil {
		return err
	}
	g.options(op, m)
	if g.doc.Paths[key] == nil {
		g.doc.Paths[key] = pathItem{}
	}
	verb := strings.ToLower(rule.Verb)
	if !slices.Contains([]string{"get", "put", "post", "delete", "options", "head", "patch", "trace"}, verb) {
		return fmt.Errorf("OpenAPI has no operation for the HTTP method %s", rule.Verb)
	}
	if other := g.doc.Paths[key][verb]; other != nil {
		return fmt.Errorf("%s %s is also %s", rule.Verb, key, other.OperationID)
	}
	g.doc.Paths[key][verb] = op
	return nil
}

// request describes query and body.
func (g *generator) request(op *operation, m protoreflect.MethodDescriptor, rule httprule.Rule) error {
	bound := map[string]bool{}
	for _, v := range rule.Template.Variables {
		bound[v.Field] = true
	}
	jsonType := "application/json"
	if m.IsStreamingClient() {
		jsonType = "application/x-ndjson"
	}
	switch rule.Body {
	case "*":
		if len(bound) == 0 {
			op.RequestBody = &requestBody{Required: true, Content: map[string]mediaType{jsonType: {g.schemas.message(m.Input())}}}
			return nil
		}
		body := g.schemas.object(m.Input(), func(f protoreflect.FieldDescriptor) bool { return bound[string(f.Name())] })
		op.RequestBody = &requestBody{Required: body.Properties != nil, Content: map[string]mediaType{jsonType: {body}}}
		return nil
	case "":
	default:
		f := m.Input().Fields().ByName(protoreflect.Name(rule.Body))
		if f == nil {
			return fmt.Errorf("%s has no field %q to be the body", m.Input().FullName(), rule.Body)
		}
		bound[rule.Body] = true
		op.RequestBody = &requestBody{Required: true, Content: map[string]mediaType{jsonType: {g.schemas.field(f)}}}
	}
	op.Parameters = append(op.Parameters, g.query(m.Input(), bound, "", "", 0)...)
	return nil
}

// maxQueryDepth bounds how deep messages are taken apart into query parameters.
const maxQueryDepth = 3

// query returns the parameters for the fields of a message that are not bound.
func (g *generator) query(md protoreflect.MessageDescriptor, bound map[string]bool, prefix, jsonPrefix string, depth int) []*parameter {
	var params []*parameter
	for i := range md.Fields().Len() {
		f := md.Fields().Get(i)
		name, jsonName := prefix+string(f.Name()), jsonPrefix+f.JSONName()
		if bound[name] {
			continue
		}
		if f.Message() != nil && !f.IsMap() && !isSingle(f.Message()) {
			if !f.IsList() && depth < maxQueryDepth && wellKnown(f.Message()) == nil {
				params = append(params, g.query(f.Message(), bound, name+".", jsonName+".", depth+1)...)
			}
			continue
		}
		p := &parameter{Name: jsonName, In: "query", Schema: g.schemas.field(f), Deprecated: isDeprecated(f)}
		p.Description, p.Schema.Description = p.Schema.Description, ""
		p.Schema.Deprecated, p.Schema.WriteOnly = false, false
		switch {
		case f.IsMap() && f.MapValue().Message() != nil && !isSingle(f.MapValue().Message()):
			continue
		case f.IsMap():
			p.Style, p.Explode = "deepObject", true
		case slices.ContainsFunc(behaviors(f), isRequired):
			p.Required = true
		}
		params = append(params, p)
	}
	return params
}

// answer describes the responses.
func (g *generator) answer(op *operation, m protoreflect.MethodDescriptor, rule httprule.Rule) error {
	ok := &response{Description: cmp.Or(firstSentence(comment(m.Output())), "Success")}
	s := func() *schema { return g.schemas.message(m.Output()) }
	if rule.ResponseBody != "" {
		f := m.Output().Fields().ByName(protoreflect.Name(rule.ResponseBody))
		if f == nil {
			return fmt.Errorf("%s has no field %q to be the response body", m.Output().FullName(), rule.ResponseBody)
		}
		s = func() *schema { return g.schemas.field(f) }
	}
	if m.IsStreamingServer() {
		ok.Description += ". A stream: one message a line, or one message an event"
		ok.Content = map[string]mediaType{"application/x-ndjson": {s()}, "text/event-stream": {s()}}
	} else {
		ok.Content = map[string]mediaType{"application/json": {s()}}
	}
	op.Responses = map[string]*response{
		"200": ok, "4XX": {Ref: "#/components/responses/Problem"}, "default": {Ref: "#/components/responses/Problem"},
	}
	return nil
}

// options describes what the contract says with Argosy's own options.
func (g *generator) options(op *operation, m protoreflect.MethodDescriptor) {
	opts, ok := m.Options().(*descriptorpb.MethodOptions)
	if !ok {
		return
	}
	if a, ok := proto.GetExtension(opts, argosyv1.E_Access).(*argosyv1.Access); ok && a.GetPublic() {
		op.Security = &[]map[string][]string{}
	} else if ok && len(a.GetRoles()) > 0 {
		op.Description = join(op.Description, "For callers with the role "+strings.Join(a.GetRoles(), " or ")+".")
	}
	switch proto.GetExtension(opts, argosyv1.E_Idempotency) {
	case argosyv1.Idempotency_KEYED:
		g.header(op, "IdempotencyKey", false)
	case argosyv1.Idempotency_KEY_REQUIRED:
		g.header(op, "IdempotencyKeyRequired", true)
	}
	if d, ok := proto.GetExtension(opts, argosyv1.E_Deprecation).(*argosyv1.Deprecation); ok && d != nil {
		op.Deprecated = true
		op.Description = join(op.Description, "Deprecated since "+d.GetSince()+".")
		if d.GetSunset() != "" {
			op.Description += " It may go away on " + d.GetSunset() + "."
		}
		if d.GetSuccessor() != "" {
			op.Description += " " + d.GetSuccessor() + " takes its place."
		}
		if d.GetGuide() != "" {
			op.Description += " See " + d.GetGuide() + "."
		}
	}
}

func (g *generator) header(op *operation, name string, required bool) {
	g.parameters[name] = &parameter{
		Name: "Idempotency-Key", In: "header", Required: required,
		Description: "Names this operation. Sent again with the same key and body, it has one effect and the same answer; with another body it is refused with 422.",
		Schema:      &schema{Type: "string", MinLength: 1},
	}
	op.Parameters = append(op.Parameters, &parameter{Ref: "#/components/parameters/" + name})
}

func problem() *schema {
	text := func(d string) *schema { return &schema{Type: "string", Description: d} }
	return &schema{
		Type: "object", Description: "An error, as RFC 9457 has it.",
		Required: []string{"type", "title", "status", "code"},
		Properties: &properties{
			{"type", text("A URI that names the kind of problem.")},
			{"title", text("The HTTP status in words.")},
			{"status", &schema{Type: "integer", Format: "int32", Description: "The HTTP status."}},
			{"detail", text("What happened, for people.")},
			{"code", text("The canonical code of gRPC, as NOT_FOUND.")},
			{"reason", text("What happened, for programs, as ORDER_NOT_FOUND.")},
			{"service", text("The service that raised the error.")},
			{"metadata", &schema{Type: "object", AdditionalProperties: &schema{Type: "string"}, Description: "Further facts for programs."}},
			{"violations", &schema{Type: "array", Description: "What is wrong with the request.", Items: &schema{
				Type: "object", Required: []string{"field", "description"},
				Properties: &properties{
					{"field", text("The path of the field, as lines[2].quantity.")},
					{"description", text("What is wrong with it.")},
				},
			}}},
			{"retryAfterMs", &schema{Type: "integer", Format: "int64", Description: "When another attempt may succeed, in milliseconds from now."}},
			{"notDone", &schema{Type: "boolean", Description: "The operation certainly had no effect."}},
		},
	}
}

func problemResponse() *response {
	return &response{
		Description: "An error.",
		Content:     map[string]mediaType{"application/problem+json": {&schema{Ref: schemaRef + "Problem"}}},
	}
}

// firstSentence returns the text up to its first full stop, without it.
func firstSentence(text string) string {
	text, _, _ = strings.Cut(text, "\n\n")
	text = strings.ReplaceAll(text, "\n", " ")
	if i := strings.Index(text, ". "); i >= 0 {
		text = text[:i]
	}
	return strings.TrimSuffix(strings.TrimSpace(text), ".")
}

// path returns the path of a template as OpenAPI writes it, and its parameters.
func (g *generator) path(md protoreflect.MessageDescriptor, t httprule.Template) (string, []*parameter, error) {
	var params []*parameter
	segments := make([]string, len(t.Segments))
	for i, s := range t.Segments {
		segments[i] = s.Text
		if s.Kind == httprule.Literal {
			continue
		}
		param := &parameter{In: "path", Required: true, Schema: &schema{Type: "string"}}
		if v := variableAt(t, i); v == nil {
			param.Name = fmt.Sprintf("segment%d", i+1)
		} else if err := g.describe(param, md, t, *v, i); err != nil {
			return "", nil, err
		}
		if s.Kind == httprule.Rest {
			param.Description = join(param.Description, "It may hold slashes.")
		}
		segments[i] = "{" + param.Name + "}"
		params = append(params, param)
	}
	key := "/" + strings.Join(segments, "/")
	if t.Verb != "" {
		key += ":" + t.Verb
	}
	shape := t.String()
	first, ok := g.paths[shape]
	if !ok {
		g.paths[shape] = key
		return key, params, nil
	}
	for i, name := range parameterNames(first) {
		if i < len(params) {
			params[i].Name = name
		}
	}
	return first, params, nil
}

// parameterNames returns the names in the braces of a path.
func parameterNames(path string) []string {
	var names []string
	for part := range strings.SplitSeq(path, "{") {
		if name, _, ok := strings.Cut(part, "}"); ok {
			names = append(names, name)
		}
	}
	return names
}

func variableAt(t httprule.Template, i int) *httprule.Variable {
	for _, v := range t.Variables {
		if v.Start <= i && i < v.End {
			return &v
		}
	}
	return nil
}

// describe names the parameter for segment i of variable v. A variable of one
// segment is called after its field; in {name=shelves/*/books/*} the segments
// are called after the collections before them: shelvesId, booksId.
func (g *generator) describe(p *parameter, md protoreflect.MessageDescriptor, t httprule.Template, v httprule.Variable, i int) error {
	var names []string
	var f protoreflect.FieldDescriptor
	for name := range strings.SplitSeq(v.Field, ".") {
		if md == nil {
			return errors.New("path variable " + v.Field + " goes through a field that is not a message")
		}
		if f = md.Fields().ByName(protoreflect.Name(name)); f == nil {
			return fmt.Errorf("%s has no field %q", md.FullName(), name)
		}
		names, md = append(names, f.JSONName()), f.Message()
	}
	if v.End-v.Start > 1 && i > v.Start && t.Segments[i-1].Kind == httprule.Literal {
		p.Name = t.Segments[i-1].Text + "Id"
		p.Description = fmt.Sprintf("A part of %s.", strings.Join(names, "."))
		return nil
	}
	p.Name = strings.Join(names, "_") // a dot is not taken by every tool
	p.Description = comment(f)
	if f.Message() == nil || isSingle(f.Message()) {
		p.Schema = g.schemas.value(f)
	}
	return nil
}

func isRequired(b annotations.FieldBehavior) bool { return b == annotations.FieldBehavior_REQUIRED }
