package httprule

import (
	"strings"
	"testing"
)

func TestParseReadsTemplates(t *testing.T) {
	for _, c := range []struct{ in, shape, vars string }{
		{"/", "/", ""},
		{"/v1/books", "/v1/books", ""},
		{"/v1/{id}", "/v1/*", "id[1:2]"},
		{"/v1/{a.b=shelves/*/books/*}:verb", "/v1/shelves/*/books/*:verb", "a.b[1:5]"},
		{"/v1/{path=**}", "/v1/**", "path[1:2]"},
		{"/v1/*/x", "/v1/*/x", ""},
		{"/v1/{a}/{b=**}:x", "/v1/*/**:x", "a[1:2] b[2:3]"},
		{"/:verb", "/:verb", ""},
	} {
		got, err := Parse(c.in)
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		var vars []string
		for _, v := range got.Variables {
			vars = append(vars, v.Field+"["+string(rune('0'+v.Start))+":"+string(rune('0'+v.End))+"]")
		}
		if got.String() != c.shape || strings.Join(vars, " ") != c.vars {
			t.Errorf("%s is %s with %v, want %s with %s", c.in, got, vars, c.shape, c.vars)
		}
	}
}

func TestParseRefusesOtherTemplates(t *testing.T) {
	for _, c := range []struct{ in, why string }{
		{"", "slash"}, {"v1", "slash"}, {"/v1/", "empty segment"}, {"//v1", "empty segment"}, {"/{id", "closing brace"},
		{"/{id=a/{b}}", "inside a variable"}, {"/{}", "not the path of a field"}, {"/{a..b}", "not the path of a field"},
		{"/{1a}", "not the path of a field"}, {"/**/x", "not the last"}, {"/{a=**}/x", "not the last"}, {"/x:", "after the colon"},
		{"/{a}/{a}", "bound twice"}, {"/a?b", "unexpected"}, {"/a%20b", "unexpected"}, {"/{a}b", "unexpected"}, {"/x:y/z", "unexpected"},
		{strings.Repeat("/x", maxSegments+1), "more than"},
	} {
		if _, err := Parse(c.in); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%q: error %v, want %q", c.in, err, c.why)
		}
	}
}

// FuzzParse holds that the string of a template is a template of the same shape.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"/v1/{a.b=shelves/*/books/*}:verb", "/{x=**}", "/*", "/:v", "/{a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		got, err := Parse(in)
		if err != nil {
			return
		}
		again, err := Parse(got.String())
		if err != nil || again.String() != got.String() {
			t.Errorf("%q is %q, which is %q, %v", in, got, again, err)
		}
		for _, v := range got.Variables {
			if v.Start >= v.End || v.End > len(got.Segments) {
				t.Errorf("%q: variable %+v", in, v)
			}
			got.Multi(v)
		}
	})
}
