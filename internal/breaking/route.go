package breaking

import (
	"regexp"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// route is a way to a method over REST.
type route struct {
	verb, path string // the path without the names of its variables
	shown      string // as the contract has it
	body       string
	reply      string // the field that is the body of the reply; "": all
	method     protoreflect.MethodDescriptor
}

func (r route) String() string { return r.verb + " " + r.shown }

// routesOf returns the routes of a method, the first one first.
func routesOf(m protoreflect.MethodDescriptor) []route {
	rule := option[*annotations.HttpRule](m, annotations.E_Http)
	if rule == nil {
		return nil
	}
	var all []route
	for _, r := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
		verb, path := "", ""
		switch p := r.GetPattern().(type) {
		case *annotations.HttpRule_Get:
			verb, path = "GET", p.Get
		case *annotations.HttpRule_Put:
			verb, path = "PUT", p.Put
		case *annotations.HttpRule_Post:
			verb, path = "POST", p.Post
		case *annotations.HttpRule_Delete:
			verb, path = "DELETE", p.Delete
		case *annotations.HttpRule_Patch:
			verb, path = "PATCH", p.Patch
		case *annotations.HttpRule_Custom:
			verb, path = p.Custom.GetKind(), p.Custom.GetPath()
		}
		all = append(all, route{verb: verb, path: nameless(path), shown: path, body: r.GetBody(), reply: r.GetResponseBody(), method: m})
	}
	return all
}

var variable = regexp.MustCompile(`\{[^{}=]*(?:=([^{}]*))?\}`)

// nameless returns a path without the names of its variables, which its callers
// do not see.
func nameless(path string) string {
	return variable.ReplaceAllStringFunc(path, func(v string) string {
		if m := variable.FindStringSubmatch(v); m[1] != "" {
			return m[1]
		}
		return "*"
	})
}

// routes compares what is served over REST.
func (c *comparison) routes() {
	now := map[string]route{}
	for _, f := range c.now.of.files {
		eachMethod(f, func(m protoreflect.MethodDescriptor) {
			for _, r := range routesOf(m) {
				now[r.verb+" "+r.path] = r
			}
		})
	}
	for _, f := range c.old.files {
		eachMethod(f, func(m protoreflect.MethodDescriptor) {
			if gone(m, c.at) {
				return
			}
			for _, r := range routesOf(m) {
				c.route(r, now)
			}
		})
	}
}

const newRoute = "keep the route as it is, as an additional binding, and add the new one"

func (c *comparison) route(was route, all map[string]route) {
	whom := []string{"callers of " + was.String()}
	now, there := all[was.verb+" "+was.path]
	switch {
	case !there && !c.methodIsThere(was.method):
		// The RPC is gone, which is said already, with its routes.
	case !there:
		c.report(was.method, whom, newRoute, "the route %s is gone", was)
	case now.method.FullName() != was.method.FullName() && (now.method.Input().FullName() != was.method.Input().FullName() || now.method.Output().FullName() != was.method.Output().FullName()):
		c.report(was.method, whom, newRoute, "the route %s leads to %s now", was, now.method.FullName())
	case now.body != was.body:
		c.report(was.method, whom, newRoute, "the body of %s is %s now, and was %s", was, part(now.body), part(was.body))
	case now.reply != was.reply:
		c.report(was.method, whom, newRoute, "the reply to %s is %s now, and was %s", was, part(orAll(now.reply)), part(orAll(was.reply)))
	}
}

func (c *comparison) methodIsThere(m protoreflect.MethodDescriptor) bool {
	s, ok := find[protoreflect.ServiceDescriptor](c.now, m.Parent().FullName())
	return ok && s.Methods().ByName(m.Name()) != nil
}

func orAll(field string) string {
	if field == "" {
		return "*"
	}
	return field
}

// part says which part of a message a body is.
func part(field string) string {
	switch field {
	case "":
		return "nothing"
	case "*":
		return "the whole message"
	}
	return "the field " + field
}

// eachMethod calls f with the methods of a file.
func eachMethod(file protoreflect.FileDescriptor, f func(protoreflect.MethodDescriptor)) {
	for i := range file.Services().Len() {
		s := file.Services().Get(i)
		for j := range s.Methods().Len() {
			f(s.Methods().Get(j))
		}
	}
}

// callersOf says who calls a method, and how.
func callersOf(m protoreflect.MethodDescriptor) string {
	name := string(m.Parent().FullName()) + "/" + string(m.Name())
	var shown []string
	for _, r := range routesOf(m) {
		shown = append(shown, r.String())
	}
	if len(shown) == 0 {
		return "callers of " + name
	}
	return "callers of " + name + " (" + strings.Join(shown, ", ") + ")"
}
