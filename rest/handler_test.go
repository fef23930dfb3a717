package rest_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/rest"
	"github.com/argosy-go/argosy/rest/internal/testpb"
)

func TestRequestsReachTheHandlerAsMessages(t *testing.T) {
	h, l := open(t, rest.Config{})
	for _, c := range []struct {
		name, line, body, want string
	}{
		{"a path variable", "GET /v1/books/b1", "", `id:"b1"`},
		{"an escaped slash in one segment is part of it", "GET /v1/books/a%2Fb", "", `id:"a/b"`},
		{"an escaped colon is not a verb", "GET /v1/books/b1%3Awatch", "", `id:"b1:watch"`},
		{"a colon that begins no known verb is part of the id", "GET /v1/books/a:b", "", `id:"a:b"`},
		{"a variable over several segments", "GET /v1/shelves/s1/books/b1", "", `name:"shelves/s1/books/b1"`},
		{"an escaped slash stays escaped in several segments", "GET /v1/shelves/s%2F1/books/b%201", "", `name:"shelves/s%2F1/books/b 1"`},
		{"all that remains", "GET /v1/files/a/b/c", "", `path:"a/b/c"`},
		{"nothing remains", "GET /v1/files", "", ``},
		{"all that remains before a verb", "GET /v1/trees/a/b:stat", "", `path:"a/b"`},
		{"a verb after an id with a colon", "POST /v1/books/a:b:lend", `{"reader":"r"}`, `id:"a:b" reader:"r"`},
		{"no body at all is an empty one", "POST /v1/books/b:lend", "", `id:"b"`},
		{"the path wins over the body", "POST /v1/books/b:lend", `{"id":"other"}`, `id:"b"`},
		{"a body that is a field", "POST /v1/shelves/s/books?validate_only=true", `{"title":"T"}`, `book:{title:"T"} shelf:"s" validate_only:true`},
		{"a body that is a list", "PUT /v1/books/b/tags", `["x","y"]`, `id:"b" tags:"x" tags:"y"`},
		{"a nested path variable", "POST /v1/echo/7", `{"text":"x"}`, `nested:{number:7 text:"x"}`},
		{"path variables of other kinds", "GET /v1/echo/-3/ESSAY/2026-01-02T03:04:05Z/true", "",
			`number:-3 kind:ESSAY when:{seconds:1767323045} flag:true`},
		{"query parameters of every sort", "GET /v1/books?page_size=3&kinds=NOVEL&kinds=2&author.firstName=Jane&since=2026-01-02T03:04:05Z&minPages=9&labels[a]=b&readMask=pages,readerToken", "",
			`page_size:3 kinds:NOVEL kinds:ESSAY author:{first_name:"Jane"} since:{seconds:1767323045} min_pages:{value:9} labels:{key:"a" value:"b"} read_mask:{paths:"pages" paths:"reader_token"}`},
		{"lists of a nested message", "GET /v1/books?author.prizes=a&author.prizes=b", "", `author:{prizes:"a" prizes:"b"}`},
		{"numbers in strings, and names of the contract", "POST /v1/echo", `{"big":"9223372036854775807","snake_case_words":["x"],"number":"5"}`,
			`big:9223372036854775807 snake_case_words:"x" number:5`},
		{"a PATCH fills its mask", "PATCH /v1/books/b", `{"title":"T","extra":{"a":{"b":1}},"authors":[{"firstName":"J"}],"labels":{"x":"y"}}`,
			`book:{id:"b" title:"T" extra:{fields:{key:"a" value:{struct_value:{fields:{key:"b" value:{number_value:1}}}}}} authors:{first_name:"J"} labels:{key:"x" value:"y"}} update_mask:{paths:"authors" paths:"extra" paths:"labels" paths:"title"}`},
		{"a mask in the query replaces that of the body", "PATCH /v1/books/b?updateMask=pages", `{"title":"T"}`,
			`book:{id:"b" title:"T"} update_mask:{paths:"pages"}`},
		{"a PUT has no mask of its own", "PUT /v1/books/b", `{"book":{"title":"T"}}`, `book:{id:"b" title:"T"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := do(h, request(c.line, c.body))
			if w.Code != http.StatusOK {
				t.Fatalf("status %d: %s", w.Code, w.Body)
			}
			got, _ := l.asked()
			want := got.ProtoReflect().New().Interface()
			if err := prototext.Unmarshal([]byte(c.want), want); err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(got, want) {
				t.Errorf("the handler was asked\n  %v\nwant\n  %v", got, want)
			}
		})
	}
}

func TestBadRequestsAreRefusedByFieldName(t *testing.T) {
	h, _ := open(t, rest.Config{MaxBody: 2000})
	deep := strings.Repeat(`{"inner":`, 120) + "1" + strings.Repeat("}", 120)
	for _, c := range []struct {
		name, line, body string
		headers          []string
		status           int
		field            string
	}{
		{name: "cut off JSON", line: "POST /v1/echo", body: `{"text":`, status: 400, field: "text"},
		{name: "trailing JSON", line: "POST /v1/echo", body: `{} {}`, status: 400, field: "body"},
		{name: "not an object", line: "POST /v1/echo", body: `[1]`, status: 400, field: "body"},
		{name: "null", line: "POST /v1/echo", body: `null`, status: 400, field: "body"},
		{name: "a duplicate key", line: "POST /v1/echo", body: `{"text":"a","text":"b"}`, status: 400, field: "text"},
		{name: "a field under both its names", line: "POST /v1/echo", body: `{"wrappedFlag":true,"wrapped_flag":true}`, status: 400, field: "wrapped_flag"},
		{name: "a duplicate key of a map", line: "POST /v1/echo", body: `{"counts":{"a":1,"a":2}}`, status: 400, field: "counts.a"},
		{name: "a duplicate key of a struct", line: "POST /v1/echo", body: `{"tree":{"a":1,"a":2}}`, status: 400, field: "tree.a"},
		{name: "two of a oneof", line: "POST /v1/echo", body: `{"choiceText":"a","choiceNumber":2}`, status: 400, field: "choiceNumber"},
		{name: "over-deep JSON", line: "POST /v1/echo", body: `{"nested":` + deep + `}`, status: 400},
		{name: "an unknown field", line: "POST /v1/echo", body: `{"nested":{"bad":1}}`, status: 400, field: "nested.bad"},
		{name: "a number without the digits of its exponent", line: "POST /v1/echo", body: `{"items":[{"number":1},{"number":2e}]}`, status: 400, field: "items[1].number"},
		{name: "an unknown field in a list", line: "POST /v1/echo", body: `{"items":[{}, {"number":1,"bad":{}}]}`, status: 400, field: "items[1].bad"},
		{name: "an unknown enum name", line: "POST /v1/echo", body: `{"kinds":["NOVEL","POEM"]}`, status: 400, field: "kinds[1]"},
		{name: "integer overflow", line: "POST /v1/echo", body: `{"number":2147483648}`, status: 400, field: "number"},
		{name: "a fraction in an integer", line: "POST /v1/echo", body: `{"number":1.5}`, status: 400, field: "number"},
		{name: "a negative natural number", line: "POST /v1/echo", body: `{"natural":-1}`, status: 400, field: "natural"},
		{name: "invalid UTF-8", line: "POST /v1/echo", body: "{\"text\":\"\xff\"}", status: 400, field: "text"},
		{name: "half a surrogate pair", line: "POST /v1/echo", body: `{"text":"\ud800 and more"}`, status: 400, field: "text"},
		{name: "a bad time", line: "POST /v1/echo", body: `{"when":"yesterday"}`, status: 400, field: "when"},
		{name: "a bad duration", line: "POST /v1/echo", body: `{"span":"1h"}`, status: 400, field: "span"},
		{name: "a string for a list", line: "POST /v1/echo", body: `{"numbers":"1"}`, status: 400, field: "numbers"},
		{name: "an unknown field of a body that is a field", line: "POST /v1/books", body: `{"authors":[{"x":1}]}`, status: 400, field: "book.authors[0].x"},
		{name: "a value of a body that is a list", line: "PUT /v1/books/b/tags", body: `["a",1]`, status: 400, field: "tags[1]"},
		{name: "a body that escapes its field", line: "PUT /v1/books/b/tags", body: `[],"id":"x"`, status: 400, field: "tags"},
		{name: "a body for a method that takes none", line: "GET /v1/books/b", body: `{}`, status: 400, field: "body"},
		{name: "an unknown query parameter", line: "GET /v1/books?bad=1", status: 400, field: "bad"},
		{name: "an unknown nested query parameter", line: "GET /v1/books?author.bad=1", status: 400, field: "author.bad"},
		{name: "a query parameter when the body is all", line: "POST /v1/echo?text=a", body: `{}`, status: 400, field: "text"},
		{name: "a query parameter that the path sets", line: "GET /v1/books/b?id=c", status: 400, field: "id"},
		{name: "a query parameter that the body sets", line: "POST /v1/books?book.title=c", body: `{}`, status: 400, field: "book.title"},
		{name: "a single parameter twice", line: "GET /v1/books?page_size=1&page_size=2", status: 400, field: "pageSize"},
		{name: "a parameter under both its names", line: "GET /v1/books?page_size=1&pageSize=2", status: 400, field: "pageSize"},
		{name: "overflow in the query", line: "GET /v1/books?page_size=99999999999", status: 400, field: "pageSize"},
		{name: "an unknown enum in the query", line: "GET /v1/books?kinds=POEM", status: 400, field: "kinds"},
		{name: "an unknown enum number in the query", line: "GET /v1/books?kinds=9", status: 400, field: "kinds"},
		{name: "a message as a parameter", line: "GET /v1/books?author=x", status: 400, field: "author"},
		{name: "two of a oneof in the query", line: "GET /v1/echo?choiceText=a&choiceNumber=2", status: 400, field: "choiceText"},
		{name: "a bad escape in the query", line: "GET /v1/books?page_token=%zz", status: 400, field: "query"},
		{name: "invalid UTF-8 in the query", line: "GET /v1/books?page_token=%ff", status: 400, field: "pageToken"},
		{name: "invalid UTF-8 in the path", line: "GET /v1/books/%ff", status: 400, field: "id"},
		{name: "a bad value in the path", line: "GET /v1/echo/x/NOVEL/2026-01-02T03:04:05Z/true", status: 400, field: "number"},
		{name: "a large body", line: "POST /v1/echo", body: `{"text":"` + strings.Repeat("x", 2000) + `"}`, status: 413},
		{name: "a form", line: "POST /v1/echo", body: `a=b`, headers: []string{"Content-Type: application/x-www-form-urlencoded"}, status: 415},
		{name: "no content type", line: "POST /v1/echo", body: `{}`, headers: []string{"Content-Type: "}, status: 415},
		{name: "another charset", line: "POST /v1/echo", body: `{}`, headers: []string{"Content-Type: application/json; charset=latin1"}, status: 415},
		{name: "a compressed body", line: "POST /v1/echo", body: `{}`, headers: []string{"Content-Encoding: gzip"}, status: 415},
		{name: "metadata of the framework", line: "GET /v1/books/b", headers: []string{"Grpc-Metadata-Argosy-Principal: root"}, status: 400},
		{name: "metadata that gRPC cannot carry", line: "GET /v1/books/b", headers: []string{"Grpc-Metadata-X: \u00e4"}, status: 400},
		{name: "an unknown path", line: "GET /v1/nothing", status: 404},
		{name: "an empty segment for a variable", line: "GET /v1/books/", status: 404},
		{name: "a path with another method", line: "PUT /v1/books", status: 405},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := do(h, request(c.line, c.body, c.headers...))
			if w.Code != c.status {
				t.Fatalf("status %d, want %d: %s", w.Code, c.status, w.Body)
			}
			if ct := w.Header().Get("Content-Type"); ct != fault.ProblemType {
				t.Errorf("content type %q", ct)
			}
			var p fault.Problem
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
				t.Fatal(err)
			}
			if c.field == "" {
				return
			}
			if len(p.Violations) != 1 || p.Violations[0].Field != c.field {
				t.Errorf("violations %v, want one of field %q", p.Violations, c.field)
			}
		})
	}
}

func TestErrorsDoNotRepeatValues(t *testing.T) {
	h, _ := open(t, rest.Config{})
	for _, c := range []struct{ name, line, body string }{
		{"of a wrong kind", "POST /v1/books", `{"readerToken":4111111111111111}`},
		{"that is cut off", "POST /v1/books", `{"readerToken":"4111111111111111`},
		{"of a bad time", "POST /v1/books", `{"published":"4111111111111111"}`},
		{"of a number", "POST /v1/books", `{"pages":4111111111111111}`},
		{"of a list", "PUT /v1/books/b/tags", `["a",4111111111111111]`},
		{"of an enum", "POST /v1/books", `{"kind":"4111111111111111"}`},
		{"in the query", "GET /v1/books?page_size=4111111111111111", ""},
		{"in the path", "GET /v1/echo/4111111111111111/NOVEL/x/true", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := do(h, request(c.line, c.body))
			if w.Code != http.StatusBadRequest || strings.Contains(w.Body.String(), "4111") {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
}

func TestAllowUnknownIgnoresWhatTheContractDoesNotKnow(t *testing.T) {
	h, l := open(t, rest.Config{AllowUnknown: true})
	for _, c := range []struct{ name, line, body string }{
		{"field", "POST /v1/echo", `{"bad":{"x":[1]}}`},
		{"enum name", "POST /v1/echo", `{"kind":"POEM"}`},
		{"query parameter", "GET /v1/echo?bad=1&utm_source=x", ""},
		{"query parameter beside a body", "POST /v1/echo?bad=1", `{}`},
		{"body", "GET /v1/echo", `{}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := do(h, request(c.line, c.body))
			if w.Code != http.StatusOK {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			if got, _ := l.asked(); !proto.Equal(got, &testpb.Everything{}) {
				t.Errorf("asked %v", got)
			}
		})
	}
}

func TestResponses(t *testing.T) {
	h, _ := open(t, rest.Config{})
	for _, c := range []struct {
		name, line, body, want string
	}{
		{"zero values are present", "GET /v1/books", "", `{"books":[],"nextPageToken":""}`},
		{"an empty response is an empty object", "DELETE /v1/books/b", "", `{}`},
		{"a list as the body", "GET /v1/titles", "", `["Emma","a, b: \"c\" \\"]`},
		{"an empty list as the body", "GET /v1/titles?page_token=empty", "", `[]`},
		{"a map as the body", "PUT /v1/books/b/tags", `["x"]`, `{"n":1}`},
		{"spaces in strings stay", "PUT /v1/books/b/tags", `[ "x" , "y" ]`, `{"n":2}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := do(h, request(c.line, c.body))
			if w.Code != http.StatusOK || w.Body.String() != c.want {
				t.Errorf("%d %s, want %s", w.Code, w.Body, c.want)
			}
			if w.Header().Get("X-Content-Type-Options") != "nosniff" || w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("headers %v", w.Header())
			}
		})
	}
}

func TestHeaders(t *testing.T) {
	h, l := open(t, rest.Config{})
	t.Run("become metadata", func(t *testing.T) {
		do(h, request("GET /v1/books/b", "", "Authorization: Bearer x", "Idempotency-Key: k", "Traceparent: tp",
			"X-Request-Id: r", "Accept-Language: de", "Grpc-Metadata-Tenant: t", "Grpc-Metadata-Raw-Bin: AAE=", "Cookie: no"))
		_, md := l.asked()
		for key, want := range map[string]string{
			"authorization": "Bearer x", "idempotency-key": "k", "traceparent": "tp", "x-request-id": "r",
			"accept-language": "de", "tenant": "t", "raw-bin": "\x00\x01", "cookie": "",
		} {
			if got := strings.Join(md[key], "|"); got != want {
				t.Errorf("%s = %q, want %q", key, got, want)
			}
		}
	})
	t.Run("of the response are those that the handler sets, if they are for callers", func(t *testing.T) {
		w := do(h, request("GET /v1/books/headers", ""))
		if w.Header().Get("Location") != "/v1/books/2" || w.Header().Get("X-Internal") != "" {
			t.Errorf("%v", w.Header())
		}
	})
	t.Run("announce a deprecation", func(t *testing.T) {
		w := do(h, request("DELETE /v1/books/b", ""))
		links := []string{`<https://library.test/burning>; rel="deprecation"`, `</v2/books>; rel="successor-version"`}
		if w.Header().Get("Deprecation") != "@1769817600" || w.Header().Get("Sunset") != "Sun, 31 Jan 2027 00:00:00 GMT" ||
			!slices.Equal(w.Header().Values("Link"), links) {
			t.Errorf("%v", w.Header())
		}
	})
	t.Run("name the methods that a path has", func(t *testing.T) {
		want := "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"
		for line, status := range map[string]int{"POST /v1/books/b": 405, "OPTIONS /v1/books/b": 204} {
			if w := do(h, request(line, "")); w.Code != status || w.Header().Get("Allow") != want {
				t.Errorf("%s: %d %q, want %q", line, w.Code, w.Header().Get("Allow"), want)
			}
		}
	})
	t.Run("HEAD is answered as GET is", func(t *testing.T) {
		if w := do(h, request("HEAD /v1/books/b", "")); w.Code != 200 || w.Header().Get("Content-Length") == "" {
			t.Errorf("%d %v", w.Code, w.Header())
		}
	})
	t.Run("an unchanged ETag saves the body", func(t *testing.T) {
		w := do(h, request("GET /v1/books/b", ""))
		if w.Header().Get("Etag") != `"v1"` {
			t.Fatalf("ETag %q", w.Header().Get("Etag"))
		}
		w = do(h, request("GET /v1/books/b", "", `If-None-Match: "v0", W/"v1"`))
		if w.Code != http.StatusNotModified || w.Body.Len() > 0 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

func TestErrorsOfTheHandlerAreProblems(t *testing.T) {
	h, _ := open(t, rest.Config{})
	t.Run("with code, reason and message", func(t *testing.T) {
		w := do(h, request("GET /v1/books/lost", ""))
		var p fault.Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
		if w.Code != 404 || p.Code != "NOT_FOUND" || p.Reason != "BOOK_NOT_FOUND" || p.Detail != `book "lost" does not exist` {
			t.Errorf("%d %+v", w.Code, p)
		}
	})
	t.Run("and a deadline of the contract holds", func(t *testing.T) {
		if w := do(h, request("POST /v1/books/b:lend", `{"reader":"slow"}`)); w.Code != http.StatusGatewayTimeout {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

func TestFallbackAnswersOtherPaths(t *testing.T) {
	other := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	h, _ := open(t, rest.Config{Fallback: other})
	for line, want := range map[string]int{"GET /else": 418, "GET /v1/books/b": 200, "POST /v1/titles": 405} {
		if w := do(h, request(line, "")); w.Code != want {
			t.Errorf("%s: %d, want %d", line, w.Code, want)
		}
	}
}

func TestRoutesAndPatternAreForTools(t *testing.T) {
	h, _ := open(t, rest.Config{})
	if r := h.Routes()[1]; r.Verb != "GET" || r.Path != "/v1/{name=shelves/*/books/*}" || r.Procedure != "/argosy.rest.test.Library/GetBook" {
		t.Errorf("%+v", r)
	}
	r := request("HEAD /v1/books/b", "")
	do(h, r)
	if r.Pattern != "GET /v1/books/{id}" {
		t.Errorf("pattern %q", r.Pattern)
	}
}
