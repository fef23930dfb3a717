package rest

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc/metadata"

	"github.com/argosy-go/argosy/fault"
)

// FuzzHeaders holds that whatever a client sends as headers becomes metadata
// that gRPC can carry, none of it Argosy's own, or is refused as a bad request.
func FuzzHeaders(f *testing.F) {
	for _, s := range [][3]string{
		{"Idempotency-Key", "k", "192.0.2.1:80"}, {"Idempotency-Key", "a\nb", ""}, {"Grpc-Metadata-Argosy-Origin", "x", "[::1]:80"},
		{"Grpc-Metadata-Argosy-Criticality", "critical", "x"}, {"Grpc-Metadata-X-Bin", "AAE=", ":"}, {"Grpc-Metadata-X-Bin", "!", ""},
		{"Grpc-Metadata-", "", ""}, {"Grpc-Metadata-Grpc-Timeout", "1n", ""}, {"Grpc-Metadata-Authorization", "Bearer x", ""}, {"Authorization", "Bearer \x00", ""},
	} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, name, value, remote string) {
		h := http.Header{}
		h.Add(name, value)
		ctx, err := outgoing(context.Background(), remote, h)
		if err != nil {
			if e := fault.From(err); e.HTTPStatus() != 400 || len(e.Violations) != 1 {
				t.Errorf("%+v", e)
			}
			return
		}
		md, _ := metadata.FromOutgoingContext(ctx)
		for key, values := range md {
			if !isKey(key) || strings.HasPrefix(key, "grpc-") || strings.HasPrefix(key, "argosy-") && key != originKey {
				t.Errorf("%q became %q", name, key)
			}
			if key == originKey && (len(values) != 1 || !strings.Contains(remote, values[0])) {
				t.Errorf("the origin of %q is %q", remote, values)
			}
			if key != originKey && !strings.HasSuffix(key, "-bin") && !isPrintable(values[0]) {
				t.Errorf("%s is %q", key, values)
			}
		}
	})
}
