package argosy

import (
	"net/http"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
)

// orProblem serves the mux, and answers what it has no handler for as the
// contracts' routes do: with a problem document.
func orProblem(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		verdict := &verdict{header: http.Header{}}
		h.ServeHTTP(verdict, r)
		switch verdict.status {
		case http.StatusMethodNotAllowed:
			w.Header().Set("Allow", verdict.header.Get("Allow"))
			fault.WriteHTTP(w, fault.New(codes.Unimplemented, fault.ReasonMethodNotAllowed, "%s is not allowed here", r.Method))
		case http.StatusNotFound:
			fault.WriteHTTP(w, fault.New(codes.NotFound, "NO_SUCH_PATH", "there is nothing at %s", r.URL.Path))
		default: // a redirect to the clean path
			mux.ServeHTTP(w, r)
		}
	})
}

// verdict keeps what the mux would answer by itself.
type verdict struct {
	header http.Header
	status int
}

func (v *verdict) Header() http.Header         { return v.header }
func (v *verdict) WriteHeader(status int)      { v.status = status }
func (v *verdict) Write(b []byte) (int, error) { return len(b), nil }
