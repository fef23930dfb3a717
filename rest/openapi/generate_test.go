package openapi_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/argosy-go/argosy/rest/internal/testpb"
	"github.com/argosy-go/argosy/rest/openapi"
)

var update = flag.Bool("update", false, "write the golden file")

// commented returns the contract of the library with comments on everything:
// the descriptor that is linked has none.
func commented(t testing.TB) protoreflect.FileDescriptor {
	t.Helper()
	file := protodesc.ToFileDescriptorProto(testpb.File_rest_internal_testpb_library_proto)
	file.SourceCodeInfo = &descriptorpb.SourceCodeInfo{}
	say := func(text string, path ...int32) {
		file.SourceCodeInfo.Location = append(file.SourceCodeInfo.Location, &descriptorpb.SourceCodeInfo_Location{
			Path: path, Span: []int32{0, 0, 0}, LeadingComments: proto.String(text),
		})
	}
	for i, m := range file.MessageType {
		say(fmt.Sprintf(" %s is a message.\n", m.GetName()), 4, int32(i))
		for j, f := range m.Field {
			say(fmt.Sprintf(" The %s of it. It has\n two lines.\n", f.GetName()), 4, int32(i), 2, int32(j))
		}
	}
	for i, e := range file.EnumType {
		for j, v := range e.Value {
			say(fmt.Sprintf(" When it is %s.\n", v.GetName()), 5, int32(i), 2, int32(j))
		}
	}
	for i, s := range file.Service {
		say(fmt.Sprintf(" %s lends books.\n", s.GetName()), 6, int32(i))
		for j, m := range s.Method {
			say(fmt.Sprintf(" %s does what it says. And more.\n\n At length.\n", m.GetName()), 6, int32(i), 2, int32(j))
		}
	}
	fd, err := protodesc.NewFile(file, protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func library(t testing.TB) []byte {
	t.Helper()
	doc, err := openapi.Generate([]protoreflect.FileDescriptor{commented(t)}, openapi.Info{
		Title: "Library", Version: "v1", Description: "Lends books.", Contact: "Argosy", ContactURL: "https://github.com/argosy-go/argosy", License: "Apache-2.0",
	})
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// TestTheDocumentIsTheGoldenOne shows every change of the output in review:
// go test ./rest/openapi -update writes it. internal/lint/openapi.sh has it
// checked by linters of others.
func TestTheDocumentIsTheGoldenOne(t *testing.T) {
	golden := filepath.Join("testdata", "library.json")
	got := library(t)
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the document is another than testdata/library.json; if it is meant to be, run with -update")
	}
	for range 5 {
		if !bytes.Equal(library(t), got) {
			t.Fatal("the same contract has two documents")
		}
	}
}

// at returns the value at a JSON pointer whose parts are given one by one.
func at(t *testing.T, doc []byte, parts ...string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(doc, &v); err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		switch n := v.(type) {
		case map[string]any:
			v = n[p]
		case []any:
			i := slices.IndexFunc(n, func(e any) bool { m, _ := e.(map[string]any); return m["name"] == p || m["$ref"] == p })
			if i < 0 {
				return nil
			}
			v = n[i]
		default:
			return nil
		}
	}
	return v
}

func TestTheDocumentSaysWhatTheContractSays(t *testing.T) {
	doc := library(t)
	const book = "argosy.rest.test.Book"
	for _, c := range []struct {
		name string
		path []string
		want any
	}{
		{"a path parameter is required", []string{"paths", "/v1/books/{id}", "get", "parameters", "id", "required"}, true},
		{"paths of one shape share their names", []string{"paths", "/v1/books/{id}", "patch", "parameters", "id", "in"}, "path"},
		{"collections name the segments of a long variable", []string{"paths", "/v1/shelves/{shelvesId}/books/{booksId}", "get", "operationId"}, "Library_GetBook_2"},
		{"a nested query parameter", []string{"paths", "/v1/books", "get", "parameters", "author.firstName", "in"}, "query"},
		{"a map in the query", []string{"paths", "/v1/books", "get", "parameters", "labels", "style"}, "deepObject"},
		{"the body is no query parameter", []string{"paths", "/v1/books", "post", "parameters", "book"}, nil},
		{"a key that is required", []string{"paths", "/v1/books", "post", "parameters", "#/components/parameters/IdempotencyKeyRequired", "$ref"}, "#/components/parameters/IdempotencyKeyRequired"},
		{"a public method needs nothing", []string{"paths", "/v1/books/{id}", "get", "security"}, []any{}},
		{"another needs the token of the document", []string{"paths", "/v1/books", "get", "security"}, nil},
		{"a field of the path is not in the body", []string{"paths", "/v1/books/{id}:lend", "post", "requestBody", "content", "application/json", "schema", "properties", "id"}, nil},
		{"a stream is lines", []string{"paths", "/v1/books/{id}:watch", "get", "responses", "200", "content", "application/x-ndjson", "schema", "$ref"}, "#/components/schemas/" + book},
		{"a stream is events", []string{"paths", "/v1/books/{id}:watch", "get", "responses", "200", "content", "text/event-stream", "schema", "$ref"}, "#/components/schemas/" + book},
		{"a stream of requests", []string{"paths", "/v1/books:import", "post", "requestBody", "content", "application/x-ndjson", "schema", "$ref"}, "#/components/schemas/" + book},
		{"a field as the response", []string{"paths", "/v1/titles", "get", "responses", "200", "content", "application/json", "schema", "type"}, "array"},
		{"errors are problems", []string{"components", "responses", "Problem", "content", "application/problem+json", "schema", "$ref"}, "#/components/schemas/Problem"},
		{"a method that goes away is deprecated", []string{"paths", "/v1/books/{id}", "delete", "deprecated"}, true},
		{"the summary is the first sentence", []string{"paths", "/v1/books", "get", "summary"}, "ListBooks does what it says"},
		{"int64 is a string", []string{"components", "schemas", book, "properties", "copies", "type"}, "string"},
		{"and says which", []string{"components", "schemas", book, "properties", "copies", "format"}, "int64"},
		{"a sensitive field is written only", []string{"components", "schemas", book, "properties", "readerToken", "writeOnly"}, true},
		{"a comment is the description", []string{"components", "schemas", book, "properties", "pages", "description"}, "The pages of it. It has\ntwo lines."},
		{"an enum has its names", []string{"components", "schemas", "argosy.rest.test.Kind", "enum"}, []any{"KIND_UNSPECIFIED", "NOVEL", "ESSAY"}},
		{"a oneof is said in words", []string{"components", "schemas", "argosy.rest.test.Everything", "description"}, "Everything is a message.\n\nAt most one of choiceText, choiceNumber, choiceNested is set."},
		{"a message may hold itself", []string{"components", "schemas", "argosy.rest.test.Nested", "properties", "inner", "$ref"}, "#/components/schemas/argosy.rest.test.Nested"},
		{"what no operation uses is left out", []string{"components", "schemas", "argosy.rest.test.GetBookRequest"}, nil},
		{"a method of gRPC alone is left out", []string{"paths", "/v1/chat"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := at(t, doc, c.path...); !reflect.DeepEqual(got, c.want) {
				t.Errorf("%s is %v, want %v", strings.Join(c.path, " "), got, c.want)
			}
		})
	}
}

func TestMerge(t *testing.T) {
	base := library(t)
	other := []byte(strings.NewReplacer("/v1/", "/v2/", "Library", "Archive").Replace(string(base)))
	t.Run("joins paths and keeps shared components", func(t *testing.T) {
		doc, err := openapi.Merge(base, other)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(at(t, doc, "paths").(map[string]any)); n != 2*len(at(t, base, "paths").(map[string]any)) {
			t.Errorf("%d paths", n)
		}
		if got := at(t, doc, "info", "title"); got != "Library, Archive" {
			t.Errorf("title %v", got)
		}
	})
	t.Run("of one document changes nothing", func(t *testing.T) {
		doc, err := openapi.Merge(base)
		if err != nil || !reflect.DeepEqual(at(t, doc), at(t, base)) {
			t.Errorf("%v", err)
		}
	})
	for _, c := range []struct{ name, old, new, want string }{
		{"refuses an operation that is in two", "Library", "Archive", "is in two documents"},
		{"refuses two components of one name", `"copies"`, `"pieces"`, "two different components"},
	} {
		t.Run(c.name, func(t *testing.T) {
			changed := strings.ReplaceAll(string(base), c.old, c.new)
			if c.old == `"copies"` {
				changed = strings.NewReplacer("/v1/", "/v2/", "Library", "Archive", c.old, c.new).Replace(string(base))
			}
			if _, err := openapi.Merge(base, []byte(changed)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
	t.Run("refuses paths that differ in names alone", func(t *testing.T) {
		_, err := openapi.Merge([]byte(`{"paths":{"/a/{x}":{}}}`), []byte(`{"paths":{"/a/{y}":{}}}`))
		if err == nil || !strings.Contains(err.Error(), "/a/{x} and /a/{y} are the same path") {
			t.Errorf("error %v", err)
		}
	})
	if _, err := openapi.Merge(); err == nil {
		t.Error("nothing was merged")
	}
	if _, err := openapi.Merge([]byte("{")); err == nil {
		t.Error("what is no document was merged")
	}
}

func TestThePageLoadsNothingFromElsewhere(t *testing.T) {
	w := httptest.NewRecorder()
	openapi.Docs(`<shop> & "co"`).ServeHTTP(w, httptest.NewRequest("GET", "/docs", nil))
	page := w.Body.String()
	if !strings.Contains(page, "&lt;shop&gt; &amp; &#34;co&#34;") || strings.Contains(page, "<shop>") {
		t.Error("the title is not escaped")
	}
	if strings.Contains(page, "{{") || regexp.MustCompile(`(?i)(src|href|url\(|import)\s*[=(]?\s*["']?(https?:)?//`).MatchString(page) {
		t.Error("the page refers to another host, or holds a placeholder")
	}
	policy := w.Header().Get("Content-Security-Policy")
	if !strings.HasPrefix(policy, "default-src 'none'; connect-src 'self'") || strings.Contains(policy, "unsafe") {
		t.Errorf("policy %q", policy)
	}
}

func TestTheDocumentIsServedWithAnETag(t *testing.T) {
	h := openapi.Document([]byte(`{}`))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/openapi.json", nil))
	r := httptest.NewRequest("GET", "/openapi.json", nil)
	r.Header.Set("If-None-Match", w.Header().Get("Etag"))
	again := httptest.NewRecorder()
	h.ServeHTTP(again, r)
	if w.Body.String() != `{}` || again.Code != 304 || again.Body.Len() != 0 {
		t.Errorf("%d %s, then %d %s", w.Code, w.Body, again.Code, again.Body)
	}
}

func FuzzMerge(f *testing.F) {
	base := []byte(`{"openapi":"3.1.0","info":{"title":"A"},"paths":{"/a/{x}":{"get":{"operationId":"A"}}},"components":{"schemas":{"S":{"type":"object"}}}}`)
	f.Add(base)
	f.Add([]byte(`{"openapi":"3.1.0","paths":{"/b":{"get":{"operationId":1}}}}`))
	f.Add([]byte(`{"openapi":"3.1.0","tags":[{"name":"T"}],"paths":{"/b":{"put":null}},"components":{"schemas":null}}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		merged, err := openapi.Merge(base, doc)
		if err == nil && !json.Valid(merged) {
			t.Error("the merged document is not JSON")
		}
	})
}
