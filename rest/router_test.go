package rest

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/argosy-go/argosy/rest/internal/httprule"
)

// newTestRouter returns a router of the templates, all of GET.
func newTestRouter(templates ...string) (*router, error) {
	r := &router{}
	var m protoreflect.MethodDescriptor = namedMethod{}
	for _, text := range templates {
		t, err := httprule.Parse(text)
		if err != nil {
			return nil, err
		}
		if err := r.add(&route{method: m, rule: httprule.Rule{Verb: "GET", Path: text, Template: t}}); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// namedMethod is a method that has a name and nothing else.
type namedMethod struct{ protoreflect.MethodDescriptor }

func (namedMethod) FullName() protoreflect.FullName {
	return (*emptypb.Empty)(nil).ProtoReflect().Descriptor().FullName()
}

// matchNaively is the definition that the router must agree with: of all the
// templates that match, the one whose segments are the most precise, from the
// left, those with a custom verb first.
func matchNaively(templates []string, escaped string) (string, bool) {
	type candidate struct {
		text string
		t    httprule.Template
	}
	var found []candidate
	for _, text := range templates {
		t, err := httprule.Parse(text)
		if err == nil && matches(t, escaped) {
			found = append(found, candidate{text, t})
		}
	}
	if len(found) == 0 {
		return "", false
	}
	slices.SortFunc(found, func(a, b candidate) int {
		if (a.t.Verb == "") != (b.t.Verb == "") {
			if a.t.Verb != "" {
				return -1
			}
			return 1
		}
		return strings.Compare(precision(a.t), precision(b.t))
	})
	return found[0].text, true
}

// precision sorts templates: the more precise comes first. The end of a
// template is more precise than a ** that matches nothing.
func precision(t httprule.Template) string {
	var b strings.Builder
	for _, s := range t.Segments {
		b.WriteByte('1' + byte(s.Kind))
	}
	return b.String() + "0"
}

func matches(t httprule.Template, escaped string) bool {
	if escaped == "" || escaped[0] != '/' {
		return false
	}
	if t.Verb != "" {
		var ok bool
		if escaped, ok = strings.CutSuffix(escaped, ":"+t.Verb); !ok || strings.HasSuffix(escaped, "/") && !endsInRest(t) {
			return false
		}
	}
	var segments []string
	if escaped != "/" && escaped != "" {
		segments = strings.Split(escaped[1:], "/")
	}
	for i, s := range t.Segments {
		if s.Kind == httprule.Rest {
			return true
		}
		if i >= len(segments) {
			return false
		}
		text, err := url.PathUnescape(segments[i])
		if err != nil || s.Kind == httprule.One && text == "" || s.Kind == httprule.Literal && text != s.Text {
			return false
		}
	}
	return len(segments) == len(t.Segments)
}

func endsInRest(t httprule.Template) bool {
	return len(t.Segments) > 0 && t.Segments[len(t.Segments)-1].Kind == httprule.Rest
}

var routerTemplates = []string{
	"/v1/books/{id}", "/v1/books", "/v1/books/popular", "/v1/{name=shelves/*/books/*}", "/v1/shelves/{s}/books/best",
	"/v1/books/{id}:watch", "/v1/books:import", "/v1/files/{path=**}", "/v1/files/{path=**}:stat", "/v1/files/list",
	"/{a}/books/{b}", "/v1/{a}/{b}/{c}", "/", "/v2/{x=**}", "/v2/{y=a/*}/b", "/v2/*/b/*:watch",
}

func FuzzRouter(f *testing.F) {
	for _, p := range []string{
		"/", "", "/v1/books", "/v1/books/", "/v1/books/1", "/v1/books/popular", "/v1/books/1:watch", "/v1/books/a:b:watch",
		"/v1/books/%3Awatch", "/v1/books/:watch", "/v1/books:import", "/v1/shelves/1/books/2", "/v1/shelves/1/books/best",
		"/v1/files", "/v1/files/", "/v1/files/a//b", "/v1/files/a/b:stat", "/v1/files/list", "/v1/files/list:stat", "/v1/files:stat",
		"/v2/a/1/b", "/v2/a/b/c:watch", "/v2", "/v3/books/1", "//", "/v1//x", "/v1/%62ooks/1", "/v1/books/%zz", "/v1/books/a%2fb", "/:watch",
	} {
		f.Add(p)
	}
	r, err := newTestRouter(routerTemplates...)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, escaped string) {
		if _, err := url.PathUnescape(escaped); err != nil {
			return // net/http refuses it
		}
		var p path
		got := ""
		if p.split(escaped) {
			if rt := r.find("GET", &p); rt != nil {
				got = rt.rule.Path
				for _, v := range rt.rule.Template.Variables {
					_ = p.value(rt.rule.Template, v)
				}
			}
		}
		if want, _ := matchNaively(routerTemplates, escaped); got != want {
			t.Errorf("%q is routed to %q, want %q", escaped, got, want)
		}
	})
}

func TestRoutesThatMatchTheSameAreRefused(t *testing.T) {
	for _, c := range [][2]string{
		{"/v1/books/{id}", "/v1/books/{name}"},
		{"/v1/books/{id}", "/v1/{name=books/*}"},
		{"/v1/{a=**}:x", "/v1/{b=**}:x"},
		{"/", "/"},
	} {
		_, err := newTestRouter(c[0], c[1])
		if err == nil || !strings.Contains(err.Error(), c[0]) || !strings.Contains(err.Error(), c[1]) {
			t.Errorf("%v: error %v does not name both", c, err)
		}
	}
}

func TestTheRouterTakesManyRoutes(t *testing.T) {
	var templates []string
	for i := range 300 {
		templates = append(templates, fmt.Sprintf("/v1/things%d/{id}/parts/{part}", i))
	}
	r, err := newTestRouter(templates...)
	if err != nil {
		t.Fatal(err)
	}
	var p path
	if !p.split("/v1/things299/a/parts/b") {
		t.Fatal("not a path")
	}
	if rt := r.find("GET", &p); rt == nil || rt.rule.Path != templates[299] {
		t.Errorf("found %v", rt)
	}
}

func BenchmarkRoute(b *testing.B) {
	var templates []string
	for i := range 300 {
		templates = append(templates, fmt.Sprintf("/v1/things%d/{id}/parts/{part}", i))
	}
	r, err := newTestRouter(templates...)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		var segments [12]string
		p := path{raw: segments[:0]}
		p.split("/v1/things299/a/parts/b")
		if r.find("GET", &p) == nil {
			b.Fatal("not found")
		}
	}
}
