package rest_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/guard"
	"github.com/argosy-go/argosy/rest"
	"github.com/argosy-go/argosy/rest/internal/testpb"
	"github.com/argosy-go/argosy/rpc"
	"github.com/argosy-go/argosy/telemetry"
)

func TestBothEdgesAnnounceTheEndOfAMethodAndCountWhoCallsIt(t *testing.T) {
	tel := telemetry.Discard()
	h, c, _ := edges(t, rpc.ServerConfig{Telemetry: tel})
	links := []string{`<https://library.test/burning>; rel="deprecation"`, `</v2/books>; rel="successor-version"`}
	notice := func(where, since, sunset string, link []string) {
		t.Helper()
		if since != "@1769817600" || sunset != "Sun, 31 Jan 2027 00:00:00 GMT" || !slices.Equal(link, links) {
			t.Errorf("%s: %q, %q, %q", where, since, sunset, link)
		}
	}
	w := do(h, request("DELETE /v1/books/b", "", "Authorization: Bearer ann"))
	notice("REST", w.Header().Get("Deprecation"), w.Header().Get("Sunset"), w.Header().Values("Link"))
	for _, who := range []string{"ann", "nobody"} { // the answer to nobody is an error
		var md metadata.MD
		_, _ = c.DeleteBook(as(t.Context(), who), &testpb.GetBookRequest{Id: "b"}, grpc.Header(&md))
		notice("gRPC for "+who, strings.Join(md["deprecation"], ""), strings.Join(md["sunset"], ""), md["link"])
	}
	_, _ = c.DeleteBook(as(t.Context(), "service/mill"), &testpb.GetBookRequest{Id: "b"})
	if w := do(h, request("GET /v1/books/b", "", "Authorization: Bearer ann")); w.Header().Get("Deprecation") != "" {
		t.Error("a method that stays says that it goes away")
	}
	families, err := tel.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	var calls []string
	for _, f := range families {
		if f.GetName() != "argosy_rpc_deprecated_calls_total" {
			continue
		}
		for _, m := range f.GetMetric() { // in the order of their labels: caller, method, service
			calls = append(calls, fmt.Sprint(m.GetLabel()[0].GetValue(), " ", m.GetCounter().GetValue()))
		}
	}
	if want := []string{"service/mill 1", "user 2"}; !slices.Equal(calls, want) { // nobody was not let in
		t.Errorf("counted %q, want %q", calls, want)
	}
}

func TestHeadersThatAreTooLargeAreRefusedOnBothEdges(t *testing.T) {
	h, c, _ := edges(t, rpc.ServerConfig{})
	large := strings.Repeat("x", 100<<10)
	w := do(h, request("GET /v1/books/b", "", "Authorization: Bearer ann", "Grpc-Metadata-Large: "+large))
	_, err := c.GetBook(metadata.AppendToOutgoingContext(as(t.Context(), "ann"), "large", large), &testpb.GetBookRequest{Id: "b"})
	answer{431, codes.ResourceExhausted, fault.ReasonHeadersTooLarge, false}.holds(t, w, err)
	if e := fault.From(err); e == nil || !e.NotDone || e.Service != "library" {
		t.Errorf("the refusal is %+v", e)
	}
	less := strings.Repeat("x", 60<<10)
	w = do(h, request("GET /v1/books/b", "", "Authorization: Bearer ann", "Grpc-Metadata-Large: "+less))
	_, err = c.GetBook(metadata.AppendToOutgoingContext(as(t.Context(), "ann"), "large", less), &testpb.GetBookRequest{Id: "b"})
	answer{200, codes.OK, "", false}.holds(t, w, err)
}

// asks is a library that asks another one.
type asks struct {
	testpb.UnimplementedLibraryServer
	next testpb.LibraryClient
}

func (a *asks) GetBook(ctx context.Context, r *testpb.GetBookRequest) (*testpb.Book, error) {
	if _, err := a.next.GetBook(as(ctx, "ann"), r); err != nil {
		return nil, err
	}
	return a.next.GetBook(as(ctx, "ann"), r)
}

func (a *asks) WatchBook(r *testpb.WatchBookRequest, s grpc.ServerStreamingServer[testpb.Book]) error {
	if err := s.Send(&testpb.Book{Id: r.Id}); err != nil {
		return err
	}
	_, err := a.next.GetBook(as(s.Context(), "ann"), &testpb.GetBookRequest{Id: r.Id})
	return err
}

// away is a connection to a service that cannot be reached.
type away struct{ grpc.ClientConnInterface }

func (away) Invoke(context.Context, string, any, any, ...grpc.CallOption) error {
	return fault.New(codes.Unavailable, "AWAY", "away")
}

const getBook = "/argosy.rest.test.Library/GetBook"

// middle returns the edge of a front service, which asks a middle one, whose
// answers are a fallback's unless back is reached.
func middle(t *testing.T, back grpc.ClientConnInterface, policies guard.Config) *rest.Handler {
	t.Helper()
	conn, network := back, false
	for _, options := range [][]rpc.ClientOption{
		{rpc.Fallback(getBook, func(_ context.Context, r *testpb.GetBookRequest, _ error) (*testpb.Book, error) {
			return &testpb.Book{Id: r.Id, Title: "as of yesterday"}, nil
		})},
		nil,
	} {
		s := rpc.NewServer(rpc.ServerConfig{Authenticator: anybody{}})
		client := rpc.NewClient(rpc.ClientConfig{Contract: libraryService()[0], Transport: conn, Options: options, Guard: policies})
		if err := s.Register("library", &testpb.Library_ServiceDesc, &asks{next: testpb.NewLibraryClient(client)}); err != nil {
			t.Fatal(err)
		}
		conn = s.Conn(rpc.ConnOptions{})
		if !network {
			conn, network = overNetwork(t, s), true
		}
	}
	h, err := rest.New(rest.Config{Services: libraryService(), Conn: conn})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestADegradedAnswerIsMarkedAtTheEdgeThroughServicesThatDoNotLook(t *testing.T) {
	for name, tt := range map[string]struct {
		back     grpc.ClientConnInterface
		policies guard.Config
		want     []string
	}{
		"when the last cannot be reached":        {away{}, guard.Config{MaxAttempts: 1}, []string{getBook}},
		"when calls are made twice, where known": {away{}, guard.Config{MaxAttempts: 1, Hedge: guard.HedgeConfig{On: true}}, []string{getBook}},
		"not when it answers":                    {sound(t), guard.Config{}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			h := httptest.NewServer(middle(t, tt.back, tt.policies))
			defer h.Close()
			for _, path := range []string{"/v1/books/b", "/v1/books/b:watch"} {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.URL+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Authorization", "Bearer ann")
				r, err := h.Client().Do(req)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(r.Body)
				if err != nil || r.StatusCode != 200 {
					t.Errorf("%s: %d %s, %v", path, r.StatusCode, body, err)
				}
				_ = r.Body.Close()
				marks := r.Header.Values("Argosy-Degraded")
				if strings.HasSuffix(path, ":watch") { // it came after the first message
					marks = r.Trailer.Values("Argosy-Degraded")
				}
				if !slices.Equal(marks, tt.want) {
					t.Errorf("%s is marked %q, want %q", path, marks, tt.want)
				}
			}
		})
	}
}

// sound is a service that answers.
func sound(t *testing.T) grpc.ClientConnInterface {
	t.Helper()
	s := rpc.NewServer(rpc.ServerConfig{Authenticator: anybody{}})
	if err := s.Register("library", &testpb.Library_ServiceDesc, &answers{}); err != nil {
		t.Fatal(err)
	}
	return s.Conn(rpc.ConnOptions{Principal: &auth.Principal{Subject: "ann"}})
}
