package rest_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/guard"
	"github.com/argosy-go/argosy/rest"
	"github.com/argosy-go/argosy/rest/internal/testpb"
	"github.com/argosy-go/argosy/rpc"
)

// answers is a library whose book's name is what goes wrong.
type answers struct {
	testpb.UnimplementedLibraryServer
	entered, leave chan struct{} // of the book "wait"
}

// faults are what services answer by the table of bad input.
var faults = map[string]*fault.Error{
	"stale":     fault.New(codes.Aborted, fault.ReasonStale, "the book has changed"),
	"in-flight": fault.New(codes.Aborted, fault.ReasonInFlight, "a copy is being worked on").WithRetryAfter(time.Second),
	"reused":    fault.New(codes.InvalidArgument, fault.ReasonKeyReused, "the key came with another payload"),
	"keyless":   fault.New(codes.InvalidArgument, fault.ReasonKeyMissing, "this method needs a key"),
	"another's": fault.New(codes.NotFound, "BOOK_NOT_FOUND", "there is no such book"),
}

func (a *answers) GetBook(ctx context.Context, r *testpb.GetBookRequest) (*testpb.Book, error) {
	switch r.Id {
	case "panic":
		panic("secret")
	case "plain":
		return nil, errors.New("secret")
	case "wait":
		a.entered <- struct{}{}
		<-a.leave
	}
	if e, ok := faults[r.Id]; ok {
		return nil, e
	}
	return &testpb.Book{Id: r.Id}, nil
}

func (a *answers) WatchBook(r *testpb.WatchBookRequest, s grpc.ServerStreamingServer[testpb.Book]) error {
	if err := s.Send(&testpb.Book{Id: "first"}); err != nil {
		return err
	}
	panic("secret")
}

// anybody takes a token for a name; "nobody" is one of no good.
type anybody struct{}

func (anybody) Authenticate(_ context.Context, bearer string) (auth.Principal, error) {
	if bearer == "nobody" {
		return auth.Principal{}, fault.New(codes.Unauthenticated, auth.ReasonTokenInvalid, "the token is not one of ours")
	}
	service, _ := strings.CutPrefix(bearer, "service/")
	if service == bearer {
		service = ""
	}
	return auth.Principal{Subject: bearer, Service: service}, nil
}

// edges are the two ways from outside to one server.
func edges(t *testing.T, c rpc.ServerConfig) (*rest.Handler, testpb.LibraryClient, *answers) {
	t.Helper()
	c.Authenticator = anybody{}
	impl := &answers{entered: make(chan struct{}), leave: make(chan struct{})}
	s := rpc.NewServer(c)
	if err := s.Register("library", &testpb.Library_ServiceDesc, impl); err != nil {
		t.Fatal(err)
	}
	h, err := rest.New(rest.Config{Services: libraryService(), Conn: s.Conn(rpc.ConnOptions{})})
	if err != nil {
		t.Fatal(err)
	}
	return h, testpb.NewLibraryClient(overNetwork(t, s)), impl
}

// overNetwork serves s until the test ends and returns a connection over the network.
func overNetwork(t *testing.T, s *rpc.Server) grpc.ClientConnInterface {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	conn, closer, err := rpc.Dial(l.Addr().String(), rpc.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(closer.Close(), s.Shutdown(context.Background()), <-served, s.Wait(context.Background())); err != nil {
			t.Error(err)
		}
	})
	return conn
}

// answer is what a caller is told on both edges.
type answer struct {
	status     int
	code       codes.Code
	reason     string
	retryAfter bool
}

// holds checks an answer of each edge.
func (want answer) holds(t *testing.T, w *httptest.ResponseRecorder, err error) {
	t.Helper()
	if w.Code != want.status || (w.Header().Get("Retry-After") != "") != want.retryAfter {
		t.Errorf("REST: %d, Retry-After %q: %s, want %+v", w.Code, w.Header().Get("Retry-After"), w.Body, want)
	}
	if want.status >= 400 {
		var p fault.Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Header().Get("Content-Type") != fault.ProblemType || p.Reason != want.reason {
			t.Errorf("REST: %s %s, want the problem %s", w.Header().Get("Content-Type"), w.Body, want.reason)
		}
	}
	e := fault.From(err)
	if e == nil {
		e = &fault.Error{}
	}
	if e.Code != want.code || e.Reason != want.reason || (e.RetryAfter > 0) != want.retryAfter {
		t.Errorf("gRPC: %+v, want %+v", e, want)
	}
	if strings.Contains(w.Body.String()+e.Error(), "secret") || strings.Contains(w.Body.String()+e.Error(), "goroutine") {
		t.Errorf("a cause or a stack was sent: %s, %v", w.Body, e)
	}
}

func as(ctx context.Context, bearer string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+bearer)
}

func TestBothEdgesAnswerByTheTable(t *testing.T) {
	h, c, _ := edges(t, rpc.ServerConfig{})
	for _, row := range []struct {
		name, book, bearer string
		want               answer
	}{
		{"what is fine", "b", "ann", answer{200, codes.OK, "", false}},
		{"a stale ETag", "stale", "ann", answer{412, codes.Aborted, fault.ReasonStale, false}},
		{"a copy in flight", "in-flight", "ann", answer{409, codes.Aborted, fault.ReasonInFlight, true}},
		{"a key with another payload", "reused", "ann", answer{422, codes.InvalidArgument, fault.ReasonKeyReused, false}},
		{"no key", "keyless", "ann", answer{400, codes.InvalidArgument, fault.ReasonKeyMissing, false}},
		{"another customer's object", "another's", "ann", answer{404, codes.NotFound, "BOOK_NOT_FOUND", false}},
		{"a token of no good", "b", "nobody", answer{401, codes.Unauthenticated, auth.ReasonTokenInvalid, false}},
		{"a panic", "panic", "ann", answer{500, codes.Internal, "INTERNAL", false}},
		{"an error without a code", "plain", "ann", answer{500, codes.Internal, "INTERNAL", false}},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := do(h, request("GET /v1/books/"+row.book, "", "Authorization: Bearer "+row.bearer))
			_, err := c.GetBook(as(t.Context(), row.bearer), &testpb.GetBookRequest{Id: row.book})
			row.want.holds(t, w, err)
		})
	}
	t.Run("the process lives", func(t *testing.T) {
		w := do(h, request("GET /v1/books/b", "", "Authorization: Bearer ann"))
		_, err := c.GetBook(as(t.Context(), "ann"), &testpb.GetBookRequest{Id: "b"})
		answer{200, codes.OK, "", false}.holds(t, w, err)
	})
}

func TestAPanicInAStreamEndsItWithoutAStack(t *testing.T) {
	h, c, _ := edges(t, rpc.ServerConfig{})
	w := do(h, request("GET /v1/books/b:watch", "", "Authorization: Bearer ann", "Accept: text/event-stream"))
	stream, err := c.WatchBook(as(t.Context(), "ann"), &testpb.WatchBookRequest{Id: "b"})
	if err != nil {
		t.Fatal(err)
	}
	first, err := stream.Recv()
	if err != nil || first.Id != "first" {
		t.Fatalf("%v, %v", first, err)
	}
	_, err = stream.Recv()
	if e := fault.From(err); e.Code != codes.Internal || e.Reason != "INTERNAL" || strings.Contains(e.Error(), "secret") {
		t.Errorf("gRPC: %v", err)
	}
	if body := w.Body.String(); w.Code != 200 || !strings.Contains(body, "first") || !strings.Contains(body, "INTERNAL") ||
		strings.Contains(body, "secret") || strings.Contains(body, "goroutine") {
		t.Errorf("REST: %d %s", w.Code, body)
	}
}

func TestTheQuotaOfACallerHoldsOnBothEdges(t *testing.T) {
	h, c, _ := edges(t, rpc.ServerConfig{Quota: guard.RateConfig{PerSecond: 0.001, Burst: 2}})
	if w := do(h, request("GET /v1/books/b", "", "Authorization: Bearer ann")); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if _, err := c.GetBook(as(t.Context(), "ann"), &testpb.GetBookRequest{Id: "b"}); err != nil {
		t.Fatal(err)
	}
	w := do(h, request("GET /v1/books/b", "", "Authorization: Bearer ann"))
	_, err := c.GetBook(as(t.Context(), "ann"), &testpb.GetBookRequest{Id: "b"})
	answer{429, codes.ResourceExhausted, fault.ReasonQuota, true}.holds(t, w, err)
	if w := do(h, request("GET /v1/books/b", "", "Authorization: Bearer bob")); w.Code != 200 {
		t.Errorf("another caller gets %d", w.Code)
	}
}

func TestCallersWhoHaveNotSignedInHaveAQuotaByAddress(t *testing.T) {
	h, _, _ := edges(t, rpc.ServerConfig{Quota: guard.RateConfig{PerSecond: 0.001, Burst: 1}})
	get := func(from string, headers ...string) int {
		r := request("GET /v1/books/b", "", headers...)
		r.RemoteAddr = from
		return do(h, r).Code
	}
	for i, want := range []int{200, 429} {
		if got := get("192.0.2.1:4000"); got != want {
			t.Errorf("call %d from one address: %d, want %d", i, got, want)
		}
	}
	if got := get("192.0.2.2:4000"); got != 200 {
		t.Errorf("from another address: %d", got)
	}
	if got := get("192.0.2.1:4001", "Grpc-Metadata-Argosy-Origin: 192.0.2.9"); got != 400 {
		t.Errorf("a client that says where it is: %d", got)
	}
}

func TestAnOverloadIsAnsweredAtOnceOnBothEdges(t *testing.T) {
	h, c, impl := edges(t, rpc.ServerConfig{MaxInFlight: 1})
	done := make(chan error, 1)
	go func() {
		_, err := c.GetBook(as(t.Context(), "ann"), &testpb.GetBookRequest{Id: "wait"})
		done <- err
	}()
	<-impl.entered
	w := do(h, request("GET /v1/books/b", "", "Authorization: Bearer nobody")) // before the token is looked at
	_, err := c.GetBook(as(t.Context(), "nobody"), &testpb.GetBookRequest{Id: "b"})
	answer{503, codes.Unavailable, fault.ReasonOverloaded, true}.holds(t, w, err)
	if e := fault.From(err); e == nil || !e.NotDone || e.Service != "library" {
		t.Errorf("the refusal is %+v", e)
	}
	close(impl.leave)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAnExpiredDeadlineIsAnsweredBeforeTheHandler(t *testing.T) {
	h, c, _ := edges(t, rpc.ServerConfig{})
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	w := do(h, request("GET /v1/books/wait", "", "Authorization: Bearer ann").WithContext(ctx)) // it would block
	if w.Code != http.StatusGatewayTimeout {
		t.Errorf("REST: %d %s", w.Code, w.Body)
	}
	if _, err := c.GetBook(as(ctx, "ann"), &testpb.GetBookRequest{Id: "wait"}); fault.CodeOf(err) != codes.DeadlineExceeded {
		t.Errorf("gRPC: %v", err)
	}
}
