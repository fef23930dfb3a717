package argosy_test

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/argosy-go/argosy"
	pb "github.com/argosy-go/argosy/docs/guide/greeter/greeterpb"
)

// fields gives the JSON names of a type and all within it.
func fields(of reflect.Type, name func(string)) {
	switch of.Kind() {
	case reflect.Pointer, reflect.Slice:
		fields(of.Elem(), name)
	case reflect.Map:
		fields(of.Elem(), name)
	case reflect.Struct:
		if of == reflect.TypeFor[time.Time]() {
			return
		}
		for f := range of.Fields() {
			if tag, _, _ := strings.Cut(f.Tag.Get("json"), ","); tag != "" {
				name(tag)
			}
			fields(f.Type, name)
		}
	}
}

func TestThePageOfGuardsNamesEveryFieldAndEveryMetric(t *testing.T) {
	b, err := os.ReadFile("docs/reference/guards.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	named := func(what string) bool {
		return strings.Contains(page, "`"+what+"`") || strings.Contains(page, "."+what+"`") || strings.Contains(page, "`"+what+".")
	}
	for _, v := range []any{argosy.Guards{}, argosy.Connections{}} {
		fields(reflect.TypeOf(v), func(name string) {
			if !named(name) {
				t.Errorf("docs/reference/guards.md does not name the field %s", name)
			}
		})
	}
	caller := serving("caller", nil, func(s *argosy.Setup) { argosy.Client(s, pb.NewGreeterClient) })
	p := program(t, serving("greeter", hello), caller)
	p.Args = append(p.Args, "--only=caller", "--peers=greeter="+unused(t))
	far := start(t, program(t, serving("greeter", hello)))
	post(t, "http://"+far.Addrs().HTTP+"/v1/greetings", `{"name":"Ada"}`)
	for _, f := range []*argosy.Fleet{start(t, p), far} {
		_, body := get(t, "http://"+f.Addrs().Admin+"/metrics")
		for _, m := range regexp.MustCompile(`(?m)^# TYPE (argosy_(?:guard|endpoint|rpc)\S*) `).FindAllStringSubmatch(body, -1) {
			if !named(m[1]) {
				t.Errorf("docs/reference/guards.md does not name the metric %s", m[1])
			}
		}
	}
}
