package auth

import (
	"context"
	"slices"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
	argosyv1 "github.com/argosy-go/argosy/proto/argosy/v1"
)

// RoleService is the role that every service of the fleet holds, and nobody else.
const RoleService = "service"

// Principal is an authenticated caller. The zero value is nobody.
type Principal struct {
	// Subject names the caller within the fleet; never empty for somebody.
	Subject string
	// Roles are what the caller may act as.
	Roles []string
	// Service is the name of the calling service of the fleet; empty when the
	// caller is a person or a foreign program.
	Service string
	// Key is the id of the API key that the caller came with; empty when it came
	// otherwise. What a person signs in for, as giving out keys, is not for keys.
	Key string
}

// Has reports whether the caller holds the role.
func (p Principal) Has(role string) bool { return slices.Contains(p.Roles, role) }

type principalKey struct{}

// with is a context in which principal is the caller. It is one allocation for
// each call, and its value none, where context.WithValue takes two.
type with struct {
	context.Context
	principal Principal
}

// Value implements context.Context.
func (w *with) Value(key any) any {
	if key == (principalKey{}) {
		return &w.principal
	}
	return w.Context.Value(key)
}

// With returns a context in which p is the caller.
func With(ctx context.Context, p Principal) context.Context { return &with{ctx, p} }

// From returns the caller, and false when the call is not authenticated.
func From(ctx context.Context) (Principal, bool) {
	p, ok := ctx.Value(principalKey{}).(*Principal)
	if !ok {
		return Principal{}, false
	}
	return *p, true
}

// Authenticator finds out who holds a bearer token.
type Authenticator interface {
	// Authenticate returns the holder of the token, which is the value of the
	// Authorization header without "Bearer ". A token that proves nobody is an
	// UNAUTHENTICATED fault.Error, one that nobody can say anything about now an
	// UNAVAILABLE one; no message holds anything of the token. It is safe for
	// concurrent use. Where it has to ask somebody else (for the new keys of an
	// issuer), it does so seldom, never for longer than ctx, and never because
	// of what the token says beyond the name of a key.
	Authenticate(ctx context.Context, bearer string) (Principal, error)
}

// Reasons of this package's errors.
const (
	// ReasonUnauthenticated: the method is not public and the call has no token.
	ReasonUnauthenticated = "UNAUTHENTICATED"
	// ReasonTokenInvalid: the token is not one that the fleet gave out.
	ReasonTokenInvalid = "TOKEN_INVALID"
	// ReasonTokenExpired: the token was good once.
	ReasonTokenExpired = "TOKEN_EXPIRED"
	// ReasonRoleMissing: the caller holds none of the roles that the method asks for.
	ReasonRoleMissing = "ROLE_MISSING"
)

// Authorize holds the contract's rule for a method: nil when the caller p (ok
// says whether there is one) may call it. A nil rule lets any authenticated
// caller in; a public one, everybody.
func Authorize(p Principal, ok bool, rule *argosyv1.Access) error {
	if rule.GetPublic() {
		return nil
	}
	if !ok {
		return fault.New(codes.Unauthenticated, ReasonUnauthenticated, "sign in first").Refused()
	}
	roles := rule.GetRoles()
	if len(roles) == 0 || slices.ContainsFunc(roles, p.Has) {
		return nil
	}
	return fault.New(codes.PermissionDenied, ReasonRoleMissing, "the caller holds none of the roles that this method asks for").Refused()
}
