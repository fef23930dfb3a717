package rest_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/argosy-go/argosy/rest"
	"github.com/argosy-go/argosy/rest/internal/testpb"
)

// shelf is the smallest connection: it answers one method itself. A program
// uses a *grpc.ClientConn, or Argosy's connection in the process.
type shelf struct{ grpc.ClientConnInterface }

func (shelf) Invoke(_ context.Context, _ string, in, out any, _ ...grpc.CallOption) error {
	proto.Merge(out.(proto.Message), &testpb.Book{Id: in.(*testpb.GetBookRequest).Id, Title: "Emma", Pages: 474})
	return nil
}

func Example() {
	h, err := rest.New(rest.Config{
		Services: []protoreflect.ServiceDescriptor{testpb.File_rest_internal_testpb_library_proto.Services().ByName("Library")},
		Conn:     shelf{},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/books/b1", nil))
	title, _, _ := strings.Cut(w.Body.String(), `,"authors"`)
	fmt.Println(w.Code, title)

	w = httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/books/b1?verbos=true", nil))
	fmt.Println(w.Code, strings.Contains(w.Body.String(), `"verbos: unknown query parameter"`))

	// Output:
	// 200 {"id":"b1","title":"Emma","pages":474
	// 400 true
}
