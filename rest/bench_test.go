package rest_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/argosy-go/argosy/rest"
	"github.com/argosy-go/argosy/rest/internal/testpb"
)

// echo is a trivial handler in the process. It answers GetBook and CreateBook
// with a book, copying as a real connection does.
type echo struct{ grpc.ClientConnInterface }

var emma = &testpb.Book{
	Id: "b1", Title: "Emma", Pages: 474, Copies: 12, Kind: testpb.Kind_NOVEL,
	Authors: []*testpb.Author{{FirstName: "Jane", LastName: "Austen"}}, Labels: map[string]string{"shelf": "a", "language": "en"},
}

func (echo) Invoke(_ context.Context, _ string, in, out any, _ ...grpc.CallOption) error {
	switch in := in.(type) {
	case *testpb.CreateBookRequest:
		proto.Merge(out.(proto.Message), in.Book)
	default:
		proto.Merge(out.(proto.Message), emma)
	}
	return nil
}

// The same book for encoding/json.
type plainBook struct {
	ID      string            `json:"id"`
	Title   string            `json:"title"`
	Pages   int32             `json:"pages"`
	Copies  string            `json:"copies"`
	Kind    string            `json:"kind"`
	Authors []plainAuthor     `json:"authors"`
	Labels  map[string]string `json:"labels"`
}

type plainAuthor struct {
	FirstName string   `json:"firstName"`
	LastName  string   `json:"lastName"`
	Prizes    []string `json:"prizes"`
}

// plain is what one writes by hand with net/http and encoding/json.
func plain() http.Handler {
	book := plainBook{ID: "b1", Title: "Emma", Pages: 474, Copies: "12", Kind: "NOVEL",
		Authors: []plainAuthor{{FirstName: "Jane", LastName: "Austen", Prizes: []string{}}}, Labels: map[string]string{"shelf": "a", "language": "en"}}
	answer := func(w http.ResponseWriter, b plainBook) {
		data, err := json.Marshal(b)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		_, _ = w.Write(data)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/books/{id}", func(w http.ResponseWriter, r *http.Request) {
		b := book
		b.ID = r.PathValue("id")
		answer(w, b)
	})
	mux.HandleFunc("POST /v1/books", func(w http.ResponseWriter, r *http.Request) {
		var b plainBook
		dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&b); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer(w, b)
	})
	return mux
}

// discard is a response nobody reads.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }

const emmaJSON = `{"id":"b1","title":"Emma","pages":474,"copies":"12","kind":"NOVEL","authors":[{"firstName":"Jane","lastName":"Austen"}],"labels":{"shelf":"a","language":"en"}}`

// BenchmarkEdge compares the edge with net/http and encoding/json and with the
// generated gateway, all before the same trivial handler.
func BenchmarkEdge(b *testing.B) {
	ours, err := rest.New(rest.Config{Services: libraryService(), Conn: echo{}})
	if err != nil {
		b.Fatal(err)
	}
	gateway := runtime.NewServeMux()
	if err := testpb.RegisterLibraryHandlerClient(b.Context(), gateway, testpb.NewLibraryClient(echo{})); err != nil {
		b.Fatal(err)
	}
	for _, m := range []struct{ name, method, path, body string }{
		{"GET", http.MethodGet, "/v1/books/b1", ""},
		{"POST", http.MethodPost, "/v1/books", emmaJSON},
	} {
		for _, h := range []struct {
			name    string
			handler http.Handler
		}{{"argosy", ours}, {"plain", plain()}, {"gateway", gateway}} {
			b.Run(m.name+"/"+h.name, func(b *testing.B) {
				body := strings.NewReader(m.body)
				target := &url.URL{Path: m.path}
				b.ReportAllocs()
				for b.Loop() {
					body.Reset(m.body)
					r := &http.Request{Method: m.method, URL: target, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
						Header: http.Header{"Accept": {"*/*"}, "User-Agent": {"bench"}, "Authorization": {"Bearer x"}}, Body: http.NoBody}
					if m.body != "" {
						r.Body, r.ContentLength = io.NopCloser(body), int64(len(m.body))
						r.Header["Content-Type"] = []string{"application/json"}
					}
					w := &discard{header: http.Header{}, status: 200}
					h.handler.ServeHTTP(w, r)
					if w.status != 200 {
						b.Fatalf("status %d", w.status)
					}
				}
			})
		}
	}
}

// BenchmarkLoopback is the same over real connections.
func BenchmarkLoopback(b *testing.B) {
	ours, err := rest.New(rest.Config{Services: libraryService(), Conn: echo{}})
	if err != nil {
		b.Fatal(err)
	}
	for _, h := range []struct {
		name    string
		handler http.Handler
	}{{"argosy", ours}, {"plain", plain()}} {
		b.Run(h.name, func(b *testing.B) {
			s := httptest.NewServer(h.handler)
			defer s.Close()
			for b.Loop() {
				resp, err := s.Client().Post(s.URL+"/v1/books", "application/json", strings.NewReader(emmaJSON))
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		})
	}
}
