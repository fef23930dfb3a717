package auth

import (
	"context"
	"errors"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
)

const (
	tokenType = "at+jwt" // RFC 9068
	maxToken  = 8192     // bytes; ours have some 400, those of others may list groups
)

// VerifierConfig configures a [Verifier].
type VerifierConfig struct {
	// Keys are the keys that are trusted. Required.
	Keys *KeySet
	// Issuer must be the token's. Empty: "argosy".
	Issuer string
	// Audience must be among the token's. Empty: "argosy".
	Audience string
	// Leeway is how far clocks may differ. Zero: 30 s; negative: none.
	Leeway time.Duration
	// Remember is how many verified tokens are remembered until they expire or
	// their key is no longer trusted, so that the signature is checked once.
	// Zero: 10,000; negative: none.
	Remember int
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
	// Trusted are issuers outside the fleet whose tokens prove people and
	// foreign programs; never a service of the fleet.
	Trusted []*Issuer
}

// Verifier is the [Authenticator] of signed tokens. The issuer that a token
// names decides which keys, algorithms and audience it is held to, so that one
// issuer's key never verifies what another is said to have signed. It is safe
// for concurrent use.
type Verifier struct {
	now     func() time.Time
	own     *issuer
	trusted map[string]*issuer // by name
	known   *memory
}

// NewVerifier returns a Verifier.
func NewVerifier(c VerifierConfig) *Verifier {
	if c.Issuer == "" {
		c.Issuer = defaultName
	}
	if c.Audience == "" {
		c.Audience = defaultName
	}
	if c.Leeway == 0 {
		c.Leeway = 30 * time.Second
	}
	if c.Remember == 0 {
		c.Remember = 10_000
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	v := &Verifier{now: c.Now, known: newMemory(c.Remember), trusted: map[string]*issuer{}}
	v.own = newIssuer(c, IssuerConfig{Name: c.Issuer, Audience: c.Audience, Algorithms: []string{algEdDSA}}, c.Keys)
	v.own.fleet = true
	for _, t := range c.Trusted {
		v.trusted[t.c.Name] = newIssuer(c, t.c, t.keys)
	}
	return v
}

// Authenticate implements [Authenticator].
func (v *Verifier) Authenticate(ctx context.Context, bearer string) (Principal, error) {
	if len(bearer) > maxToken {
		return Principal{}, invalid(errors.New("token too long"))
	}
	id, now := tokenID(bearer), v.now()
	if r, ok := v.known.get(id, now); ok {
		// A key that is no longer trusted takes what it proved along.
		keys, err := r.by.keys.current(ctx, now)
		if err != nil {
			return Principal{}, invalid(err)
		}
		if keys == r.keys {
			return r.principal, nil
		}
	}
	by, err := v.issuerOf(bearer)
	if err != nil {
		return Principal{}, invalid(err)
	}
	r, err := by.verify(ctx, bearer, now)
	if err != nil {
		return Principal{}, invalid(err)
	}
	v.known.put(id, r)
	return r.principal, nil
}

// issuerOf returns who the token says has issued it. Nothing is verified yet:
// it only chooses what the token will be held to.
func (v *Verifier) issuerOf(token string) (*issuer, error) {
	if len(v.trusted) == 0 {
		return v.own, nil
	}
	var said struct {
		jwt.RegisteredClaims
	}
	if _, _, err := v.own.parser.ParseUnverified(token, &said); err != nil {
		return nil, err
	}
	if by, ok := v.trusted[said.Issuer]; ok && said.Issuer != v.own.c.Name {
		return by, nil
	}
	return v.own, nil // which refuses the name of anybody else
}

// invalid returns what a caller sees of a bad token; err is for logs and holds
// nothing of the token either.
func invalid(err error) error {
	if known, ok := errors.AsType[*fault.Error](err); ok { // nobody can say now
		return known
	}
	if errors.Is(err, jwt.ErrTokenExpired) && !errors.Is(err, jwt.ErrTokenSignatureInvalid) {
		return fault.New(codes.Unauthenticated, ReasonTokenExpired, "the token has expired: sign in again").Wrap(err).Refused()
	}
	return fault.New(codes.Unauthenticated, ReasonTokenInvalid, "the token is not valid").Wrap(err).Refused()
}
