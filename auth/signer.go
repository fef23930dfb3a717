package auth

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// defaultName is issuer and audience of a fleet that was not given others:
// its key is its own, so no other fleet's token passes.
const defaultName = "argosy"

// SignerConfig configures a [Signer].
type SignerConfig struct {
	// Key signs. Required.
	Key ed25519.PrivateKey
	// Issuer is who gives the tokens out. Empty: "argosy".
	Issuer string
	// Audience is who the tokens are for. Empty: "argosy".
	Audience string
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
}

// Signer gives out signed tokens. It is safe for concurrent use.
type Signer struct {
	c     SignerConfig
	keyID string
	keys  *KeySet
}

// NewSigner returns a Signer.
func NewSigner(c SignerConfig) (*Signer, error) {
	if len(c.Key) != ed25519.PrivateKeySize {
		return nil, errors.New("auth: a signer needs an Ed25519 key")
	}
	if c.Issuer == "" {
		c.Issuer = defaultName
	}
	if c.Audience == "" {
		c.Audience = defaultName
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	public := c.Key.Public().(ed25519.PublicKey)
	return &Signer{c: c, keyID: keyID(public), keys: NewKeySet(public)}, nil
}

// OpenSigner returns a Signer with the key in the file, which is made when it
// does not exist: PKCS #8 in PEM, mode 0600. A file that others may read is refused.
func OpenSigner(path string) (*Signer, error) {
	key, err := loadKey(path)
	if err != nil {
		return nil, err
	}
	return NewSigner(SignerConfig{Key: key})
}

// Sign returns a token that proves p for the time ttl, and when it ends (to
// the second). Somebody without a subject gets none, and the role "service" is
// for services only; a service always has it.
func (s *Signer) Sign(p Principal, ttl time.Duration) (token string, expires time.Time, err error) {
	switch {
	case p.Subject == "":
		return "", time.Time{}, errors.New("auth: a principal without a subject gets no token")
	case p.Service == "" && p.Has(RoleService):
		return "", time.Time{}, fmt.Errorf("auth: %s is no service and gets no token with the role %q", p.Subject, RoleService)
	case ttl < time.Second:
		return "", time.Time{}, fmt.Errorf("auth: a token for %v is none", ttl)
	}
	if p.Service != "" && !p.Has(RoleService) {
		p.Roles = append(slices.Clone(p.Roles), RoleService)
	}
	now := s.c.Now().Truncate(time.Second)
	expires = now.Add(ttl).Truncate(time.Second)
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: s.c.Issuer, Subject: p.Subject, Audience: jwt.ClaimStrings{s.c.Audience}, ID: rand.Text(),
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(expires),
		},
		Roles: p.Roles, Service: p.Service,
	})
	t.Header["typ"], t.Header["kid"] = tokenType, s.keyID
	if token, err = t.SignedString(s.c.Key); err != nil {
		return "", time.Time{}, fmt.Errorf("auth: sign a token: %w", err)
	}
	if len(token) > maxToken {
		return "", time.Time{}, fmt.Errorf("auth: a token of %d bytes would be refused, the limit is %d: too many roles", len(token), maxToken)
	}
	return token, expires, nil
}

// Keys returns the public keys that verify the tokens.
func (s *Signer) Keys() *KeySet { return s.keys }

// Authenticator returns a new [Verifier] of the signer's own tokens, and of
// those of the issuers outside the fleet that are trusted beside it.
func (s *Signer) Authenticator(trusted ...*Issuer) Authenticator {
	return NewVerifier(VerifierConfig{Keys: s.keys, Issuer: s.c.Issuer, Audience: s.c.Audience, Now: s.c.Now, Trusted: trusted})
}
