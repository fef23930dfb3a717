package rest_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/argosy-go/argosy/rest"
	"github.com/argosy-go/argosy/rest/internal/testpb"
)

// recorder is a connection that keeps the request of each unary call.
type recorder struct {
	call string
	in   proto.Message
}

func (r *recorder) Invoke(_ context.Context, method string, args, _ any, _ ...grpc.CallOption) error {
	r.call, r.in = method, proto.Clone(args.(proto.Message))
	return nil
}

func (r *recorder) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, io.ErrUnexpectedEOF
}

// oracle answers the same request with our handler and with the gateway that
// is generated from the same contract.
type oracle struct {
	ours, theirs   http.Handler
	rec, recTheirs *recorder
}

func newOracle(t testing.TB) *oracle {
	t.Helper()
	o := &oracle{rec: &recorder{}, recTheirs: &recorder{}}
	h, err := rest.New(rest.Config{Services: libraryService(), Conn: o.rec})
	if err != nil {
		t.Fatal(err)
	}
	// The escaping that google.api.http documents; it is not the gateway's default.
	mux := runtime.NewServeMux(runtime.WithUnescapingMode(runtime.UnescapingModeAllExceptReserved))
	if err := testpb.RegisterLibraryHandlerClient(t.Context(), mux, testpb.NewLibraryClient(o.recTheirs)); err != nil {
		t.Fatal(err)
	}
	o.ours, o.theirs = h, mux
	return o
}

// verdict is what became of a request on both sides.
type verdict struct {
	status, statusTheirs int
	in, inTheirs         string // call and message; empty when refused
	same                 bool
}

func (o *oracle) ask(line, body string) verdict {
	*o.rec, *o.recTheirs = recorder{}, recorder{}
	w, wTheirs := httptest.NewRecorder(), httptest.NewRecorder()
	o.ours.ServeHTTP(w, request(line, body))
	o.theirs.ServeHTTP(wTheirs, request(line, body))
	v := verdict{status: w.Code, statusTheirs: wTheirs.Code}
	if o.rec.in != nil {
		v.in = fmt.Sprint(o.rec.call, " ", o.rec.in)
	}
	if o.recTheirs.in != nil {
		v.inTheirs = fmt.Sprint(o.recTheirs.call, " ", o.recTheirs.in)
	}
	v.same = o.rec.call == o.recTheirs.call && (o.rec.in == nil) == (o.recTheirs.in == nil) &&
		(o.rec.in == nil || proto.Equal(o.rec.in, o.recTheirs.in))
	return v
}

func TestTheGatewaySeesTheSameRequests(t *testing.T) {
	o := newOracle(t)
	for _, c := range []struct{ line, body string }{
		{"GET /v1/books/b1", ""},
		{"GET /v1/books/a%2Fb", ""},
		{"GET /v1/books/a%20b%C3%A4", ""},
		{"GET /v1/books/b?verbose=true", ""},
		{"GET /v1/books/b?verbose=1&name=x", ""},
		{"GET /v1/shelves/s/books/b", ""},
		{"GET /v1/shelves/s%20t/books/b?id=x", ""},
		{"GET /v1/books?page_size=3&pageToken=x&kinds=NOVEL&kinds=2", ""},
		{"GET /v1/books?author.first_name=J&author.prizes=a&author.prizes=b", ""},
		{"GET /v1/books?since=2026-01-02T03:04:05.678Z&min_pages=0&labels[a]=b&labels[c]=d", ""},
		{"GET /v1/books?read_mask=pages,reader_token", ""},
		{"GET /v1/titles?page_size=0", ""},
		{"POST /v1/books?validate_only=true&shelf=s", `{"title":"T","published":"2026-01-01T00:00:00Z"}`},
		{"POST /v1/shelves/s/books", `{"authors":[{"firstName":"J","prizes":["p"]}],"labels":{"a":"b"}}`},
		{"PATCH /v1/books/b", `{"title":"T"}`},
		{"PATCH /v1/books/b", `{"authors":[{"first_name":"J"}],"labels":{},"pages":0,"title":null}`},
		{"PATCH /v1/books/b?update_mask=title,pages", `{"title":"T"}`},
		{"PATCH /v1/books/b", `{}`},
		{"PUT /v1/books/b", `{"book":{"id":"x","title":"T"},"updateMask":"title"}`},
		{"DELETE /v1/books/b", ""},
		{"POST /v1/books/b:lend", `{"reader":"r","period":"3.5s"}`},
		{"POST /v1/books/a:b:lend", `{}`},
		{"POST /v1/books/b:lend", ""},
		{"PUT /v1/books/b/tags", `["x","y"]`},
		{"GET /v1/files/a/b/c", ""},
		{"GET /v1/files/a%20b/c%2Fd", ""},
		{"GET /v1/trees/a/b:stat", ""},
		{"GET /v1/trees/a:b/c:stat", ""},
		{"GET /v1/echo/-3/1/2026-01-02T03:04:05Z/false?real=2.5&single=-1e3&data=AAE%3D&maybe=0", ""},
		{"GET /v1/echo?choice_number=1&wrapped=&wrapped_flag=false&wrapped_real=1.5&wrapped_data=AAE", ""},
		{"GET /v1/echo?nested.inner.inner.number=4&signed=-9&fixed=18446744073709551615", ""},
		{"POST /v1/echo/7", `{"text":"x","inner":{"number":2}}`},
		{"POST /v1/echo", `{"value":{"a":[1,null,"x"]},"tree":{"k":false},"byNumber":{"1":{"number":2}},"kinds":[1,"ESSAY"]}`},
		// Both refuse.
		{"POST /v1/echo", `{"text":`},
		{"POST /v1/echo", `null`},
		{"POST /v1/echo", `{"number":2147483648}`},
		{"POST /v1/echo", `{"text":"a","text":"b"}`},
		{"GET /v1/books?page_size=x", ""},
		{"GET /v1/books?kinds=POEM", ""},
		{"GET /v1/books?page_size=1&page_size=2", ""},
		{"GET /v1/echo?choice_number=1&choice_text=a", ""},
		{"GET /v1/nothing", ""},
	} {
		t.Run(c.line, func(t *testing.T) {
			if v := o.ask(c.line, c.body); !v.same {
				t.Errorf("%s\nours   %d %s\ntheirs %d %s", c.body, v.status, v.in, v.statusTheirs, v.inTheirs)
			}
		})
	}
}

// TestTheGatewayDiffers lists every way in which we mean to differ.
func TestTheGatewayDiffers(t *testing.T) {
	o := newOracle(t)
	for _, c := range []struct {
		name, line, body     string
		status, statusTheirs int
	}{
		{"unknown fields are refused, not ignored", "POST /v1/echo", `{"bad":1}`, 400, 200},
		{"unknown enum names are refused, not ignored", "POST /v1/echo", `{"kind":"POEM"}`, 400, 200},
		{"unknown query parameters are refused, not ignored", "GET /v1/books?bad=1", "", 400, 200},
		{"a query beside a whole body is refused, not ignored", "POST /v1/echo?text=a", `{}`, 400, 200},
		{"a query for what the path says is refused, not ignored", "GET /v1/books/b?id=c", "", 400, 200},
		{"trailing JSON is refused", "POST /v1/echo", `{"text":"a"} x`, 400, 200},
		{"a body for a method without one is refused", "GET /v1/books", `{}`, 400, 200},
		{"an empty id is no id", "GET /v1/books/", "", 404, 200},
		{"a wrong method is 405", "POST /v1/titles", `{}`, 405, 501},
		{"booleans have no other spellings", "GET /v1/books/b?verbose=T", "", 400, 200},
		{"durations are those of JSON", "GET /v1/echo?span=1h", "", 400, 200},
		{"numbers that are none have the names of JSON", "GET /v1/echo?real=NAN", "", 400, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			if v := o.ask(c.line, c.body); v.status != c.status || v.statusTheirs != c.statusTheirs {
				t.Errorf("ours %d %s, want %d\ntheirs %d %s, want %d", v.status, v.in, c.status, v.statusTheirs, v.inTheirs, c.statusTheirs)
			}
		})
	}
	for _, c := range []struct{ name, line, body, in, inTheirs string }{
		{"an escaped colon is part of the id", "GET /v1/books/b%3Awatch", "", `Library/GetBook id:"b:watch"`, `Library/GetBook id:"b:watch"`},
		{"an escaped slash stays escaped in a value of several segments", "GET /v1/shelves/s%2Ft/books/b", "", `name:"shelves/s%2Ft/books/b"`, `name:"shelves/s/t/books/b"`},
		{"nothing but a slash stays escaped there", "GET /v1/files/a%3Db", "", `path:"a=b"`, `path:"a%3Db"`},
		{"a mask stops at free-form fields", "PATCH /v1/books/b", `{"extra":{"a":1}}`, `paths:"extra"`, `paths:"extra.a"`},
		{"a mask in the query may be spelt as in JSON", "GET /v1/books?readMask=readerToken", "", `paths:"reader_token"`, `paths:"readerToken"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := o.ask(c.line, c.body)
			squeeze := func(s string) string { return strings.ReplaceAll(s, "  ", " ") }
			if !strings.Contains(squeeze(v.in), c.in) || !strings.Contains(squeeze(v.inTheirs), c.inTheirs) {
				t.Errorf("ours %s\ntheirs %s", v.in, v.inTheirs)
			}
		})
	}
}

// TestRandomRequestsReachTheSameMessages sends requests made from random
// messages. All are valid, so neither side may refuse one.
func TestRandomRequestsReachTheSameMessages(t *testing.T) {
	o := newOracle(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 3000 {
		line, body := randomRequest(rnd, i%4)
		if v := o.ask(line, body); !v.same || v.status != 200 {
			t.Fatalf("%s %s\nours   %d %s\ntheirs %d %s", line, body, v.status, v.in, v.statusTheirs, v.inTheirs)
		}
	}
}

// randomRequest returns a request of one of four forms.
func randomRequest(rnd *rand.Rand, form int) (line, body string) {
	m := &testpb.Everything{}
	randomMessage(rnd, m.ProtoReflect(), 3)
	data, _ := protojson.MarshalOptions{UseProtoNames: rnd.IntN(2) == 0, UseEnumNumbers: rnd.IntN(2) == 0}.Marshal(m)
	switch form {
	case 0:
		return "POST /v1/echo", string(data)
	case 1:
		q := url.Values{}
		addQuery(rnd, q, "", m.ProtoReflect())
		return "GET /v1/echo?" + q.Encode(), ""
	case 2:
		book := &testpb.Book{}
		randomMessage(rnd, book.ProtoReflect(), 2)
		book.Extra = nil // its mask differs, on purpose
		data, _ = protojson.Marshal(book)
		return "PATCH /v1/books/" + url.PathEscape("b"+randomText(rnd)), string(data)
	default:
		var segments []string
		for range 1 + rnd.IntN(4) {
			text := strings.Map(func(r rune) rune {
				if strings.ContainsRune("!#$&'()*+,/:;=?@[]", r) {
					return -1 // these differ in values of several segments, on purpose
				}
				return r
			}, randomText(rnd))
			segments = append(segments, url.PathEscape("s"+text))
		}
		return "GET /v1/files/" + strings.Join(segments, "/"), ""
	}
}

// randomMessage sets about a third of the fields.
func randomMessage(rnd *rand.Rand, m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if rnd.IntN(3) > 0 || f.Message() != nil && depth == 0 || f.Message() != nil && !f.IsMap() && f.Message().ParentFile().Package() == "google.protobuf" {
			continue
		}
		switch {
		case f.IsList():
			for range 1 + rnd.IntN(3) {
				m.Mutable(f).List().Append(randomValue(rnd, f, m.Mutable(f).List().NewElement(), depth))
			}
		case f.IsMap():
			entries := m.Mutable(f).Map()
			for range 1 + rnd.IntN(2) {
				entries.Set(randomValue(rnd, f.MapKey(), protoreflect.Value{}, 0).MapKey(), randomValue(rnd, f.MapValue(), entries.NewValue(), depth))
			}
		default:
			m.Set(f, randomValue(rnd, f, m.NewField(f), depth))
		}
	}
}

func randomValue(rnd *rand.Rand, f protoreflect.FieldDescriptor, empty protoreflect.Value, depth int) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.MessageKind:
		randomMessage(rnd, empty.Message(), depth-1)
		return empty
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(randomText(rnd))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(randomText(rnd)))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(rnd.IntN(2) == 0)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(rnd.IntN(3)))
	case protoreflect.Int32Kind, protoreflect.Sint32Kind:
		return protoreflect.ValueOfInt32(int32(rnd.Uint32()))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(rnd.Uint32())
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(int64(rnd.Uint64()))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(rnd.Uint64())
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(rnd.Float32() - 0.5)
	default:
		return protoreflect.ValueOfFloat64(rnd.NormFloat64() * 1e9)
	}
}

func randomText(rnd *rand.Rand) string {
	letters := []rune("abcXYZ019 _-~.:/%+&=?#\"\\{}[]<>äé世😀\t")
	var b strings.Builder
	for range rnd.IntN(8) {
		b.WriteRune(letters[rnd.IntN(len(letters))])
	}
	return b.String()
}

// addQuery writes the fields of m as query parameters, under either name.
func addQuery(rnd *rand.Rand, q url.Values, prefix string, m protoreflect.Message) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		name := prefix + f.JSONName()
		if rnd.IntN(2) == 0 {
			name = prefix + string(f.Name())
		}
		switch {
		case f.IsMap(), f.IsList() && f.Message() != nil: // not all of these can be said in a query
		case f.IsList():
			for i := range v.List().Len() {
				q.Add(name, queryText(rnd, f, v.List().Get(i)))
			}
		case f.Message() != nil:
			addQuery(rnd, q, name+".", v.Message())
		default:
			q.Add(name, queryText(rnd, f, v))
		}
		return true
	})
}

func queryText(rnd *rand.Rand, f protoreflect.FieldDescriptor, v protoreflect.Value) string {
	if f.Kind() == protoreflect.EnumKind && rnd.IntN(2) == 0 {
		return string(f.Enum().Values().ByNumber(v.Enum()).Name())
	}
	if f.Kind() == protoreflect.BytesKind {
		data, _ := protojson.Marshal(&testpb.Everything{Data: v.Bytes()})
		return strings.Split(string(data), `"`)[3]
	}
	return v.String()
}
