package argosy

import (
	"context"
	"fmt"

	"github.com/argosy-go/argosy/auth"
)

// openCallers makes what tells who calls from outside: the fleet's own tokens,
// and those of the issuer outside that the settings name.
func (f *Fleet) openCallers() error {
	if f.set.AuthIssuer == "" && f.set.AuthAudience == "" && f.set.AuthJWKS == "" {
		f.callers = f.signer.Authenticator()
		return nil
	}
	issuer, err := auth.NewIssuer(auth.IssuerConfig{
		Name: f.set.AuthIssuer, Audience: f.set.AuthAudience, JWKS: f.set.AuthJWKS, RolesClaim: f.set.AuthRolesClaim,
		Log: f.tel.Logger("auth"),
	})
	if err != nil {
		return &usageError{fmt.Errorf("--auth-issuer, --auth-audience and --auth-jwks: %w", err)}
	}
	f.onClose("forget the issuer of tokens", func(context.Context) error { return issuer.Close() })
	f.callers = f.signer.Authenticator(issuer)
	return nil
}
