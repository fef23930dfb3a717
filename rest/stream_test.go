package rest_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/rest"
	"github.com/argosy-go/argosy/rest/internal/testpb"
)

type bookStream = grpc.ServerStreamingServer[testpb.Book]

// sendTwo sends two books and ends with err.
func sendTwo(err error) func(*testpb.WatchBookRequest, bookStream) error {
	return func(r *testpb.WatchBookRequest, s bookStream) error {
		for _, title := range []string{"Emma", "Persuasion"} {
			if err := s.Send(&testpb.Book{Id: r.Id, Title: title}); err != nil {
				return err
			}
		}
		return err
	}
}

func TestStreamsOfResponses(t *testing.T) {
	gone := fault.New(codes.NotFound, "GONE", "it is gone")
	for _, c := range []struct {
		name, accept string
		watch        func(*testpb.WatchBookRequest, bookStream) error
		status       int
		contentType  string
		lines        []string // each a prefix of the line
	}{
		{"are lines", "", sendTwo(nil), 200, "application/x-ndjson", []string{`{"id":"b","title":"Emma",`, `{"id":"b","title":"Persuasion",`}},
		{"are events", "text/event-stream", sendTwo(nil), 200, "text/event-stream",
			[]string{`data: {"id":"b","title":"Emma",`, ``, `data: {"id":"b","title":"Persuasion",`, ``, `event: end`, `data: {}`, ``}},
		{"end with an error on a line", "", sendTwo(gone), 200, "application/x-ndjson",
			[]string{`{"id"`, `{"id"`, `{"@error":{"type":"urn:argosy:reason:GONE","title":"Not Found","status":404`}},
		{"end with an error as an event", "text/event-stream", sendTwo(gone), 200, "text/event-stream",
			[]string{`data: {`, ``, `data: {`, ``, `event: error`, `data: {"type":"urn:argosy:reason:GONE"`, ``}},
		{"that fail at once have a status", "text/event-stream", func(*testpb.WatchBookRequest, bookStream) error { return gone },
			404, fault.ProblemType, []string{`{"type":"urn:argosy:reason:GONE"`}},
		{"may be empty", "", func(*testpb.WatchBookRequest, bookStream) error { return nil }, 200, "application/x-ndjson", nil},
		{"in another form are refused", "image/png", sendTwo(nil), 406, fault.ProblemType, []string{`{"type":"urn:argosy:reason:NOT_ACCEPTABLE"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, l := open(t, rest.Config{})
			l.watch = c.watch
			r := request("GET /v1/books/b:watch?changes=2", "")
			if c.accept != "" {
				r.Header.Set("Accept", c.accept)
			}
			w := do(h, r)
			if w.Code != c.status || w.Header().Get("Content-Type") != c.contentType {
				t.Fatalf("%d %s: %s", w.Code, w.Header().Get("Content-Type"), w.Body)
			}
			var lines []string
			if w.Body.Len() > 0 {
				lines = strings.Split(strings.TrimSuffix(w.Body.String(), "\n"), "\n")
			}
			if !slices.EqualFunc(lines, c.lines, strings.HasPrefix) {
				t.Errorf("%q, want the beginnings %q", lines, c.lines)
			}
		})
	}
}

// watchOverHTTP opens the stream of a book on a real server.
func watchOverHTTP(t *testing.T, ctx context.Context, h http.Handler) *http.Response {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ReadTimeout, s.Config.WriteTimeout = 150*time.Millisecond, 150*time.Millisecond // must not end streams
	s.Start()
	t.Cleanup(s.Close)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/v1/books/b:watch", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	resp, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func TestAStreamWithNothingToSayShowsThatItLives(t *testing.T) {
	h, l := open(t, rest.Config{Heartbeat: 20 * time.Millisecond})
	seen, ended := make(chan struct{}), make(chan error, 1)
	l.watch = func(_ *testpb.WatchBookRequest, s bookStream) error {
		select {
		case <-seen:
		case <-s.Context().Done():
		}
		ended <- s.Context().Err()
		return s.Send(&testpb.Book{Title: "Emma"})
	}
	resp := watchOverHTTP(t, t.Context(), h)
	body := bufio.NewReader(resp.Body)
	for i := 0; i < 15; { // longer than the server's timeouts
		line, err := body.ReadString('\n')
		if err != nil {
			t.Fatalf("after %d heartbeats: %v", i, err)
		}
		if line == ":\n" {
			i++
		}
	}
	close(seen)
	rest, err := io.ReadAll(body)
	if err != nil || !strings.Contains(string(rest), `"title":"Emma"`) || !strings.HasSuffix(string(rest), "event: end\ndata: {}\n\n") {
		t.Errorf("%q, %v", rest, err)
	}
	if err := <-ended; err != nil {
		t.Errorf("the handler's context: %v", err)
	}
}

func TestAClientThatGoesAwayCancelsTheCall(t *testing.T) {
	h, l := open(t, rest.Config{})
	ended := make(chan struct{})
	l.watch = func(_ *testpb.WatchBookRequest, s bookStream) error {
		defer close(ended)
		if err := s.Send(&testpb.Book{}); err != nil {
			return err
		}
		<-s.Context().Done()
		return s.Context().Err()
	}
	ctx, leave := context.WithCancel(t.Context())
	watchOverHTTP(t, ctx, h)
	leave()
	<-ended
}

func TestAClientThatDoesNotReadIsLeft(t *testing.T) {
	h, l := open(t, rest.Config{StallTimeout: time.Second})
	ended := make(chan struct{})
	l.watch = func(_ *testpb.WatchBookRequest, s bookStream) error {
		defer close(ended)
		book := &testpb.Book{Title: strings.Repeat("x", 1<<20)}
		for s.Send(book) == nil { // until the edge cancels the call
		}
		return nil
	}
	watchOverHTTP(t, t.Context(), h)
	<-ended
}

func TestHEADOfAStreamStartsNone(t *testing.T) {
	h, _ := open(t, rest.Config{}) // its WatchBook would panic
	if w := do(h, request("HEAD /v1/books/b:watch", "")); w.Code != 200 || w.Header().Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

func TestAClientThatSendsNothingIsLeft(t *testing.T) {
	h, _ := open(t, rest.Config{StallTimeout: 50 * time.Millisecond})
	s := httptest.NewServer(h)
	defer s.Close()
	body, never := io.Pipe()
	defer never.Close()
	resp, err := s.Client().Post(s.URL+"/v1/books:import", "application/x-ndjson", body)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("status %d", resp.StatusCode)
	}
}

func TestStreamsOfRequests(t *testing.T) {
	h, _ := open(t, rest.Config{MaxBody: 100})
	long := `{"title":"` + strings.Repeat("x", 120) + `"}`
	for _, c := range []struct {
		name, body  string
		contentType string
		status      int
		want        string
	}{
		{"are counted", "{\"title\":\"a\"}\n\n{\"title\":\"b\"}\r\n{}", "application/x-ndjson", 200, `{"count":3}`},
		{"may be larger than one message may be", strings.Repeat("{\"title\":\"a\"}\n", 500), "application/x-ndjson", 200, `{"count":500}`},
		{"may be empty", "", "", 200, `{"count":0}`},
		{"name the bad line", "{}\n{\"authors\":[{\"x\":1}]}\n", "application/x-ndjson", 400, `line 2: authors[0].x: unknown field`},
		{"refuse a long line", "{}\n" + long + "\n", "application/x-ndjson", 413, `line 2: the body is larger`},
		{"stop when the handler has answered", "{\"title\":\"forbidden\"}\n" + strings.Repeat("{}\n", 9), "application/x-ndjson", 403, `FORBIDDEN_BOOK`},
		{"are no JSON", "{}", "application/json", 415, `application/x-ndjson`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := request("POST /v1/books:import", c.body)
			r.Header.Set("Content-Type", c.contentType)
			w := do(h, r)
			if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
				t.Errorf("%d %s, want %d %s", w.Code, w.Body, c.status, c.want)
			}
		})
	}
}

func TestContractsThatCannotBeServedFailTheStart(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(rule map[string]string, m *descriptorpb.MethodDescriptorProto)
		want string
	}{
		{"a stream in both directions", func(_ map[string]string, m *descriptorpb.MethodDescriptorProto) {
			yes := true
			m.ClientStreaming, m.ServerStreaming = &yes, &yes
		}, "both directions"},
		{"a variable that is no field", func(r map[string]string, _ *descriptorpb.MethodDescriptorProto) { r["path"] = "/v1/{nothing}" }, `no field "nothing"`},
		{"a variable that is a list", func(r map[string]string, _ *descriptorpb.MethodDescriptorProto) { r["path"] = "/v1/{kinds}" }, "not a single value"},
		{"a body that is no field", func(r map[string]string, _ *descriptorpb.MethodDescriptorProto) { r["body"] = "nothing" }, `no field "nothing"`},
		{"a response body that is no field", func(r map[string]string, _ *descriptorpb.MethodDescriptorProto) { r["response"] = "nothing" }, `no field "nothing"`},
		{"a bad template", func(r map[string]string, _ *descriptorpb.MethodDescriptorProto) { r["path"] = "/v1/{id" }, "closing brace"},
		{"the path of another method", func(r map[string]string, _ *descriptorpb.MethodDescriptorProto) { r["path"] = "/v1/books" }, "CreateBook"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := rest.New(rest.Config{Services: editedService(t, c.edit), Conn: noConn{}})
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "argosy.rest.test.Library.Echo") {
				t.Errorf("error %v, want one that names Echo and says %q", err, c.want)
			}
		})
	}
	if _, err := rest.New(rest.Config{}); err == nil {
		t.Error("a handler without a connection was made")
	}
}

type noConn struct{ grpc.ClientConnInterface }

// editedService returns the library with another rule for Echo.
func editedService(t *testing.T, edit func(map[string]string, *descriptorpb.MethodDescriptorProto)) []protoreflect.ServiceDescriptor {
	t.Helper()
	file := protodesc.ToFileDescriptorProto(testpb.File_rest_internal_testpb_library_proto)
	for _, m := range file.Service[0].Method {
		if m.GetName() == "Echo" {
			rule := map[string]string{"path": "/v1/other", "body": "*"}
			edit(rule, m)
			setRule(m, rule["path"], rule["body"], rule["response"])
		}
	}
	fd, err := protodesc.NewFile(file, protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	return []protoreflect.ServiceDescriptor{fd.Services().Get(0)}
}
