package auth

import (
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
)

// ErrAuthorization: what was sent as authorization is not one bearer token, or
// not one API key.
var ErrAuthorization = fault.New(codes.Unauthenticated, "INVALID_AUTHORIZATION", "the authorization must be one bearer token, or one API key").Refused()

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

// Credential returns what a caller came with: the bearer token in the values of
// an Authorization header, or the API key in those of an X-Api-Key header; ""
// when there are neither. Both at once, or anything but an API key in the
// second, is [ErrAuthorization]: who sends two credentials does not know which
// one counts.
func Credential(authorization, apiKey []string) (token string, err error) {
	if len(apiKey) == 0 {
		return Bearer(authorization)
	}
	if len(authorization) > 0 || len(apiKey) > 1 || !IsAPIKey(apiKey[0]) {
		return "", ErrAuthorization
	}
	return apiKey[0], nil
}
