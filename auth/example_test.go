package auth_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/argosy-go/argosy/auth"
	argosyv1 "github.com/argosy-go/argosy/proto/argosy/v1"
)

// A token proves who calls; the contract's rule for the method says who may.
func Example() {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	signer, err := auth.NewSigner(auth.SignerConfig{Key: key}) // a program has one in its data directory: see OpenSigner
	if err != nil {
		panic(err)
	}
	token, _, err := signer.Sign(auth.Principal{Subject: "ada", Roles: []string{"customer"}}, time.Hour)
	if err != nil {
		panic(err)
	}
	caller, err := signer.Authenticator().Authenticate(context.Background(), token)
	fmt.Println(caller.Subject, caller.Roles, err)
	fmt.Println(auth.Authorize(caller, true, &argosyv1.Access{Roles: []string{"customer", "support"}}))
	fmt.Println(auth.Authorize(caller, true, &argosyv1.Access{Roles: []string{"support"}}))
	// Output:
	// ada [customer] <nil>
	// <nil>
	// PermissionDenied ROLE_MISSING: the caller holds none of the roles that this method asks for
}
