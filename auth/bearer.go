package auth

import (
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
)

// ErrAuthorization: what was sent as authorization is not one bearer token.
var ErrAuthorization = fault.New(codes.Unauthenticated, "INVALID_AUTHORIZATION", "the authorization must be one bearer token").Refused()

// Bearer returns the token in the values of an Authorization header, and "" when
// there are none (RFC 6750, section 2.1). Anything but one bearer token is
// [ErrAuthorization].
func Bearer(values []string) (token string, err error) {
	if len(values) == 0 {
		return "", nil
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	if token = strings.TrimSpace(token); !ok || len(values) > 1 || token == "" || !strings.EqualFold(scheme, "bearer") {
		return "", ErrAuthorization
	}
	return token, nil
}
