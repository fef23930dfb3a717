package auth

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
)

const (
	tokenType = "at+jwt" // RFC 9068
	maxToken  = 4096     // bytes; ours have some 400
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
	// Remember is how many verified tokens are remembered until they expire,
	// so that the signature is checked once. Zero: 10,000; negative: none.
	Remember int
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
}

// Verifier is the [Authenticator] of signed tokens. It is safe for concurrent use.
type Verifier struct {
	c      VerifierConfig
	parser *jwt.Parser
	known  *memory
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
	c.Leeway = max(c.Leeway, 0)
	return &Verifier{
		c: c,
		parser: jwt.NewParser(
			jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}), jwt.WithStrictDecoding(),
			jwt.WithIssuer(c.Issuer), jwt.WithAudience(c.Audience), jwt.WithExpirationRequired(), jwt.WithNotBeforeRequired(),
			jwt.WithIssuedAt(), jwt.WithLeeway(c.Leeway), jwt.WithTimeFunc(c.Now),
		),
		known: newMemory(c.Remember),
	}
}

// Authenticate implements [Authenticator].
func (v *Verifier) Authenticate(_ context.Context, bearer string) (Principal, error) {
	if len(bearer) > maxToken {
		return Principal{}, invalid(errors.New("token too long"))
	}
	id := tokenID(bearer)
	if p, ok := v.known.get(id, v.c.Now()); ok {
		return p, nil
	}
	var c claims
	if _, err := v.parser.ParseWithClaims(bearer, &c, v.key); err != nil {
		return Principal{}, invalid(err)
	}
	if err := c.complete(); err != nil {
		return Principal{}, invalid(err)
	}
	p := Principal{Subject: c.Subject, Roles: c.Roles, Service: c.Service}
	v.known.put(id, p, c.ExpiresAt.Add(v.c.Leeway))
	return p, nil
}

// key returns the key that a token names, before its signature is checked. A
// header that offers a key of its own, or asks for what we do not know, is refused.
func (v *Verifier) key(t *jwt.Token) (any, error) {
	for name := range t.Header {
		switch name {
		case "alg", "kid", "typ", "cty":
		case "jku", "jwk", "x5u", "x5c", "x5t", "x5t#S256", "crit", "b64", "zip":
			return nil, errors.New("header " + name + " is refused")
		}
	}
	if typ, _ := t.Header["typ"].(string); !strings.EqualFold(typ, tokenType) {
		return nil, errors.New("type is not " + tokenType)
	}
	kid, _ := t.Header["kid"].(string)
	key, ok := v.c.Keys.keys[kid]
	if !ok {
		return nil, errors.New("unknown key")
	}
	return key, nil
}

// complete holds what the parser does not: a subject, and that the role
// "service" and the claim of being one come together.
func (c *claims) complete() error {
	if c.Subject == "" {
		return errors.New("no subject")
	}
	if (c.Service != "") != slices.Contains(c.Roles, RoleService) {
		return errors.New("role and claim of a service do not agree")
	}
	return nil
}

// invalid returns what a caller sees of a bad token; err is for logs and holds
// nothing of the token either.
func invalid(err error) error {
	if errors.Is(err, jwt.ErrTokenExpired) && !errors.Is(err, jwt.ErrTokenSignatureInvalid) {
		return fault.New(codes.Unauthenticated, ReasonTokenExpired, "the token has expired: sign in again").Wrap(err).Refused()
	}
	return fault.New(codes.Unauthenticated, ReasonTokenInvalid, "the token is not valid").Wrap(err).Refused()
}
