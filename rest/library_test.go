package rest_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/rest"
	"github.com/argosy-go/argosy/rest/internal/testpb"
)

// libraryService is the contract of the tests.
func libraryService() []protoreflect.ServiceDescriptor {
	return []protoreflect.ServiceDescriptor{testpb.File_rest_internal_testpb_library_proto.Services().ByName("Library")}
}

// library keeps what it was last asked.
type library struct {
	testpb.UnimplementedLibraryServer
	mu   sync.Mutex
	last proto.Message
	md   metadata.MD

	// watch is WatchBook, where a test sets it.
	watch func(*testpb.WatchBookRequest, grpc.ServerStreamingServer[testpb.Book]) error
}

func (l *library) note(ctx context.Context, m proto.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = proto.Clone(m)
	l.md, _ = metadata.FromIncomingContext(ctx)
}

func (l *library) asked() (proto.Message, metadata.MD) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last, l.md
}

func (l *library) GetBook(ctx context.Context, r *testpb.GetBookRequest) (*testpb.Book, error) {
	l.note(ctx, r)
	switch r.Id {
	case "lost":
		return nil, fault.New(codes.NotFound, "BOOK_NOT_FOUND", "book %q does not exist", r.Id)
	case "headers":
		if err := grpc.SetHeader(ctx, metadata.Pairs("location", "/v1/books/2", "x-internal", "secret")); err != nil {
			return nil, err
		}
	}
	return &testpb.Book{Id: r.Id, Title: "Emma", Etag: "v1"}, nil
}

func (l *library) ListBooks(ctx context.Context, r *testpb.ListBooksRequest) (*testpb.ListBooksResponse, error) {
	l.note(ctx, r)
	return &testpb.ListBooksResponse{}, nil
}

func (l *library) CreateBook(ctx context.Context, r *testpb.CreateBookRequest) (*testpb.Book, error) {
	l.note(ctx, r)
	return r.Book, nil
}

func (l *library) UpdateBook(ctx context.Context, r *testpb.UpdateBookRequest) (*testpb.Book, error) {
	l.note(ctx, r)
	return r.Book, nil
}

func (l *library) DeleteBook(ctx context.Context, r *testpb.GetBookRequest) (*emptypb.Empty, error) {
	l.note(ctx, r)
	return &emptypb.Empty{}, nil
}

func (l *library) LendBook(ctx context.Context, r *testpb.LendBookRequest) (*testpb.Book, error) {
	l.note(ctx, r)
	if r.Reader == "slow" {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &testpb.Book{Id: r.Id}, nil
}

func (l *library) Titles(ctx context.Context, r *testpb.ListBooksRequest) (*testpb.TitlesResponse, error) {
	l.note(ctx, r)
	if r.PageToken == "empty" {
		return &testpb.TitlesResponse{}, nil
	}
	return &testpb.TitlesResponse{Titles: []string{"Emma", "a, b: \"c\" \\"}}, nil
}

func (l *library) Tag(ctx context.Context, r *testpb.TagRequest) (*testpb.TagRequest, error) {
	l.note(ctx, r)
	return &testpb.TagRequest{Labels: map[string]int32{"n": int32(len(r.Tags))}}, nil
}

func (l *library) GetFile(ctx context.Context, r *testpb.FileRequest) (*testpb.FileRequest, error) {
	l.note(ctx, r)
	return r, nil
}

func (l *library) Echo(ctx context.Context, r *testpb.Everything) (*testpb.Everything, error) {
	l.note(ctx, r)
	return r, nil
}

func (l *library) WatchBook(r *testpb.WatchBookRequest, s grpc.ServerStreamingServer[testpb.Book]) error {
	return l.watch(r, s)
}

func (l *library) Import(s grpc.ClientStreamingServer[testpb.Book, testpb.ImportResponse]) error {
	var n int32
	for {
		b, err := s.Recv()
		if err == io.EOF {
			return s.SendAndClose(&testpb.ImportResponse{Count: n})
		}
		if err != nil {
			return err
		}
		if b.Title == "forbidden" {
			return fault.New(codes.PermissionDenied, "FORBIDDEN_BOOK", "not this one")
		}
		n++
	}
}

// dial serves l over gRPC in memory.
func dial(t testing.TB, l testpb.LibraryServer) *grpc.ClientConn {
	t.Helper()
	lis := bufconn.Listen(1 << 20)
	s := grpc.NewServer()
	testpb.RegisterLibraryServer(s, l)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(lis) // ends with Stop
	}()
	conn, err := grpc.NewClient("passthrough:library",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		s.Stop()
		<-done
	})
	return conn
}

// open returns a handler before a library.
func open(t testing.TB, c rest.Config) (*rest.Handler, *library) {
	t.Helper()
	l := &library{}
	c.Services, c.Conn = libraryService(), dial(t, l)
	h, err := rest.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return h, l
}

// request makes a request from "METHOD target", with the headers given as
// "Name: value"; a body is JSON unless a header says otherwise.
func request(line, body string, headers ...string) *http.Request {
	method, target, _ := strings.Cut(line, " ")
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	return r
}

// do carries out a request.
func do(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// setRule gives a method another binding, of POST.
func setRule(m *descriptorpb.MethodDescriptorProto, path, body, response string) {
	m.Options = &descriptorpb.MethodOptions{}
	proto.SetExtension(m.Options, annotations.E_Http, &annotations.HttpRule{
		Pattern: &annotations.HttpRule_Post{Post: path}, Body: body, ResponseBody: response,
	})
}
