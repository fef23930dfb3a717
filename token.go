package argosy

import (
	"context"
	"sync"
	"time"

	"github.com/argosy-go/argosy/auth"
)

const (
	serviceTokenTime = 5 * time.Minute
	serviceTokenRest = time.Minute // what a token still has when the next one is made
)

// identity returns who a service of the fleet is.
func identity(service string) auth.Principal {
	return auth.Principal{Subject: "service/" + service, Service: service, Roles: []string{auth.RoleService}}
}

// serviceToken returns a function that gives a service's token for calls over
// the network, and makes a new one before the old one ends.
func serviceToken(signer *auth.Signer, service string) func(context.Context) (string, error) {
	var mu sync.Mutex
	var token string
	var expires time.Time
	return func(context.Context) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		if time.Until(expires) > serviceTokenRest {
			return token, nil
		}
		var err error
		token, expires, err = signer.Sign(identity(service), serviceTokenTime)
		return token, err
	}
}
