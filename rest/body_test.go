package rest

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/rest/internal/testpb"
)

// FuzzBody holds that a body is taken exactly when protojson takes it and it is
// JSON, that it decodes to the same message, and that a refusal is
// INVALID_ARGUMENT with a field.
func FuzzBody(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"text":"a"}`, `{"number":1e2}`, `{"items":[{"number":1},{"bad":2}]}`, `{"nested":{"inner":{"inner":{}}}}`,
		`{"counts":{"a":1,"a":2}}`, `{"tree":{"a":[1,{"b":null}]}}`, `{"value":{"a":{"a":1,"a":2}}}`, "{\"text\":\"\xff\"}",
		`{"text":"\ud800"}`, `{"big":"9223372036854775808"}`, `{"when":"2026-01-01T00:00:00Z"}`, `{"mask":"a,b.c"}`, `{"text":`,
		`{"data":"AA=="}`, `[1,2`, `"`, `{"a\"b":{"c":[[["`, `{"wrappedFlag":true,"wrapped_flag":false}`, "{\n \"number\" :\n x}",
		`{"number":0e}`, `{"items":[{"number":1},{"number":2e+}]}`, `{"tree":{"a":1.5E}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, want := &testpb.Everything{}, &testpb.Everything{}
		err := decodeJSON(data, got, "", false)
		wantErr := protojson.UnmarshalOptions{RecursionLimit: maxDepth}.Unmarshal(data, want)
		if (err == nil) != (wantErr == nil && json.Valid(data)) {
			t.Fatalf("%v, but protojson says %v", err, wantErr)
		}
		if err == nil {
			if !utf8.Valid(data) {
				t.Error("what is not UTF-8 was taken")
			}
			if !proto.Equal(got, want) && !strings.Contains(want.String(), "nan") {
				t.Errorf("%v, want %v", got, want)
			}
			return
		}
		e := fault.From(err)
		if e.HTTPStatus() != 400 || len(e.Violations) != 1 || e.Violations[0].Field == "" || !utf8.ValidString(e.Message) {
			t.Errorf("%+v", e)
		}
		decodeJSON(data, got, "", true) //nolint:errcheck // must only not panic
	})
}

// FuzzSqueeze holds that spaces between tokens go and everything else stays.
func FuzzSqueeze(f *testing.F) {
	for _, s := range []string{`{"a": 1, "b": "x, y"}`, `"\\"`, `["\" ", 1]`, `{"a\\": " "}`, `"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		valid := json.Valid(data)
		var want bytes.Buffer
		if valid {
			if err := json.Compact(&want, data); err != nil {
				t.Fatal(err)
			}
		}
		got := squeeze(bytes.Clone(data))
		if valid && !bytes.ContainsAny(data, "\n\r\t") && !bytes.Equal(got, want.Bytes()) {
			t.Errorf("%q, want %q", got, want.Bytes())
		}
	})
}

func FuzzAccept(f *testing.F) {
	f.Add("text/event-stream, */*;q=0.1")
	f.Add("application/x-ndjson;q=nan")
	f.Fuzz(func(t *testing.T, header string) {
		if events, err := wantsEvents([]string{header}); events && (err != nil || !strings.Contains(strings.ToLower(header), sseType)) {
			t.Errorf("%q is taken as a wish for events", header)
		}
	})
}

func TestAcceptChoosesTheStream(t *testing.T) {
	for _, c := range []struct {
		name, header string
		events, fail bool
	}{
		{"a browser's EventSource gets events", "text/event-stream", true, false},
		{"curl gets lines", "*/*", false, false},
		{"JSON is taken as lines", "application/json", false, false},
		{"a preferred type wins", "application/x-ndjson;q=0.5, text/event-stream", true, false},
		{"equal wishes are lines", "text/event-stream, application/x-ndjson", false, false},
		{"a named type is preferred to any", "text/event-stream, */*", true, false},
		{"a refused type is not sent", "text/event-stream;q=0, */*", false, false},
		{"something else fails", "image/png", false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			events, err := wantsEvents([]string{c.header})
			if events != c.events || (err != nil) != c.fail {
				t.Errorf("%v, %v", events, err)
			}
		})
	}
}

func TestLocateNamesThePath(t *testing.T) {
	for _, c := range []struct{ data, at, want string }{
		{`{"a":{"b":[1,{"c":X}]}}`, "X", "a.b[1].c"},
		{`{"a":1,"b":X}`, "X", "b"},
		{`{"a":{"x":1},"X":2}`, `"X"`, "X"},
		{`[[1,2],[3,X]]`, "X", "[1][1]"},
		{`{"a\"X{":{"b":Y}}`, "Y", `a"X{.b`},
		{`X`, "X", ""},
	} {
		if got := locate([]byte(c.data), strings.Index(c.data, c.at)); got != c.want {
			t.Errorf("%s in %s is at %q, want %q", c.at, c.data, got, c.want)
		}
	}
}
