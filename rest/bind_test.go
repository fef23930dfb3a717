package rest

import (
	"net/url"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/rest/internal/testpb"
)

// FuzzQuery holds that a query binds or is refused with 400, and that what it
// binds survives JSON: a handler sees only what a body could have said too.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{
		"text=a&number=1", "nested.inner.text=x", "numbers=1&numbers=2", "counts[a]=1&counts[b]=2", "when=2026-01-01T00:00:00Z&span=1.5s",
		"mask=a,bC.d_e", "wrapped=&wrappedFlag=true&wrapped_data=AAE", "kinds=NOVEL&kinds=2", "a[", "]=", "%ff=%ff", "choice_text=&choice_number=0",
		"real=NaN&single=-Infinity&data=_-8", "nested=1&value=2", "nested.inner.inner.inner.inner.inner.inner.inner.inner.inner.inner.inner.inner.inner.inner.inner.inner.number=1",
	} {
		f.Add(s)
	}
	md := (&testpb.Everything{}).ProtoReflect().Type()
	f.Fuzz(func(t *testing.T, raw string) {
		rt := &route{in: md}
		m := &testpb.Everything{}
		if err := rt.bindQuery(m.ProtoReflect(), raw, false); err != nil {
			if e := fault.From(err); e.HTTPStatus() != 400 || len(e.Violations) != 1 || e.Violations[0].Field == "" && !unnamed(raw) {
				t.Errorf("%+v", e)
			}
			return
		}
		m.Mask = nil // JSON cannot carry every path
		data, err := protojson.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		again := &testpb.Everything{}
		if err := protojson.Unmarshal(data, again); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		if first, err := proto.Marshal(m); err != nil {
			t.Errorf("%v of %d bytes", err, len(first))
		}
	})
}

// unnamed reports whether a query has a parameter without a name.
func unnamed(raw string) bool {
	v, _ := url.ParseQuery(raw)
	_, ok := v[""]
	return ok
}
