package argosy

import (
	"context"
	"errors"
	"fmt"

	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/auth/apikey"
	"github.com/argosy-go/argosy/rpc"
)

// openCallers makes what tells who calls from outside: the fleet's own tokens,
// those of the issuer outside that the settings name, and the API keys that one
// of the services keeps.
func (f *Fleet) openCallers() error {
	tokens, err := f.tokens()
	if err != nil {
		return err
	}
	callers := auth.Callers{Tokens: tokens}
	for _, s := range f.every {
		keys := apikey.Find(s)
		if keys == nil {
			continue
		}
		if callers.APIKeys != nil {
			return fmt.Errorf("service %s: another service keeps the API keys of the fleet already", s.Name())
		}
		var keeper auth.APIKeyKeeper = keys
		if f.serverOf(string(apikey.Contract().FullName())) == nil {
			f.keeper = &keeperElsewhere{service: s.Name()}
			keeper = f.keeper
		}
		callers.APIKeys = auth.NewAPIKeys(auth.APIKeyConfig{Keeper: keeper, Now: f.program.Now})
	}
	f.callers = callers
	return nil
}

func (f *Fleet) tokens() (auth.Authenticator, error) {
	if f.set.AuthIssuer == "" && f.set.AuthAudience == "" && f.set.AuthJWKS == "" {
		return f.signer.Authenticator(), nil
	}
	issuer, err := auth.NewIssuer(auth.IssuerConfig{
		Name: f.set.AuthIssuer, Audience: f.set.AuthAudience, JWKS: f.set.AuthJWKS, RolesClaim: f.set.AuthRolesClaim,
		Log: f.tel.Logger("auth"),
	})
	if err != nil {
		return nil, &usageError{fmt.Errorf("--auth-issuer, --auth-audience and --auth-jwks: %w", err)}
	}
	f.onClose("forget the issuer of tokens", func(context.Context) error { return issuer.Close() })
	return f.signer.Authenticator(issuer), nil
}

// keeperElsewhere asks the service of another process for who holds an API key.
// It is bound before anything is served.
type keeperElsewhere struct {
	service string
	bound   auth.APIKeyKeeper // nil: this process cannot reach it
}

// CheckAPIKey implements auth.APIKeyKeeper.
func (k *keeperElsewhere) CheckAPIKey(ctx context.Context, id string, hash auth.APIKeyHash) (auth.APIKeyHolder, error) {
	if k.bound == nil {
		return auth.APIKeyHolder{}, errors.New("service " + k.service + ", which keeps the API keys, is not among the peers")
	}
	return k.bound.CheckAPIKey(ctx, id, hash)
}

// bindKeeper connects to the service elsewhere that keeps the API keys. Who
// takes none needs no peer for it.
func (f *Fleet) bindKeeper(peers map[string]string) error {
	if f.keeper == nil || len(f.services) == 0 || !f.finds(peers, f.keeper.service) {
		return nil
	}
	from := f.services[0].Name() // any service of the fleet may ask
	conn, closer, err := f.dial(peers, f.keeper.service, rpc.DialOptions{Token: serviceToken(f.signer, from)})
	if err != nil {
		return fmt.Errorf("connect to %s, which keeps the API keys: %w", f.keeper.service, err)
	}
	f.peers = append(f.peers, closer.Close)
	client := rpc.NewClient(rpc.ClientConfig{From: from, Contract: apikey.Contract(), Transport: conn, Telemetry: f.tel})
	f.keeper.bound = apikey.Remote(client)
	return nil
}
