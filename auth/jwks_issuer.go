package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// The algorithms that a token may be signed with.
const (
	algEdDSA = "EdDSA" // Ed25519
	algES256 = "ES256" // ECDSA on P-256
	algRS256 = "RS256" // RSA, at least 2048 bits
	algPS256 = "PS256" // RSA-PSS, at least 2048 bits
)

var algorithms = []string{algEdDSA, algES256, algRS256, algPS256}

// IssuerConfig configures an [Issuer].
type IssuerConfig struct {
	// Name is the issuer: what its tokens say in iss, to the letter. Required.
	Name string
	// Audience must be among the token's. Required: a token for another program
	// proves nothing here.
	Audience string
	// JWKS is where the issuer's keys are: an https URL, an http URL of this
	// machine, or the path of a file (RFC 7517). Required. Nothing that a token
	// says is ever fetched, and redirects are not followed.
	JWKS string
	// Algorithms are the ones that the issuer signs with, of "EdDSA", "ES256",
	// "RS256" and "PS256". Empty: all four. A key is used with one only: the one
	// that it names, or else RS256 where it is an RSA key.
	Algorithms []string
	// RolesClaim is the claim that lists the roles: a list of strings, or one
	// string with spaces between them. It is a name, or with a slash in front a
	// JSON pointer (RFC 6901), as in "/realm_access/roles". Empty: "roles". The
	// role "service" is not believed.
	RolesClaim string

	// Refresh is how old keys may be before they are fetched again, beside the
	// call that notices; at twice the age the call waits for it. So a key that
	// the issuer removed is refused after that time. Zero: 5 min.
	Refresh time.Duration
	// Interval is the least time between two fetches, whatever tokens ask for.
	// Zero: 30 s.
	Interval time.Duration
	// Keep is how long keys are used while the place does not answer, or not
	// with a set of keys. Zero: 24 h.
	Keep time.Duration
	// Timeout bounds a fetch. Zero: 5 s.
	Timeout time.Duration

	// Transport makes the requests. Nil: one that uses no proxy.
	Transport http.RoundTripper
	// Log receives what goes wrong with a fetch. Nil: nothing.
	Log *slog.Logger
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
}

// Issuer is an authority outside the fleet that gives out tokens, as RFC 9068
// describes them: type at+jwt, and iss, aud, sub, exp and iat are required. The
// subject of who is proved so is "<issuer>#<sub>", since two authorities may
// well give the same name to different people.
//
// Its keys are fetched when they are needed, and again when they are old or a
// token names one that is not known, one fetch at a time and never more often
// than the interval. It is safe for concurrent use.
type Issuer struct {
	c    IssuerConfig
	keys *remoteKeys
}

// NewIssuer returns an Issuer. A file of keys must be there and good; a URL is
// not asked before a token needs it.
func NewIssuer(c IssuerConfig) (*Issuer, error) {
	switch {
	case c.Name == "" || c.Name == defaultName:
		return nil, fmt.Errorf("auth: %q cannot be the name of an issuer outside the fleet", c.Name)
	case c.Audience == "":
		return nil, errors.New("auth: an issuer needs an audience: a token for another program proves nothing here")
	}
	for _, a := range c.Algorithms {
		if !slices.Contains(algorithms, a) {
			return nil, fmt.Errorf("auth: algorithm %q is none of %s", a, strings.Join(algorithms, ", "))
		}
	}
	if len(c.Algorithms) == 0 {
		c.Algorithms = algorithms
	}
	if c.RolesClaim == "" {
		c.RolesClaim = "roles"
	}
	keys, err := newRemoteKeys(c)
	if err != nil {
		return nil, fmt.Errorf("auth: the keys of %s: %w", c.Name, err)
	}
	return &Issuer{c: c, keys: keys}, nil
}

// Close ends a fetch that is under way, and lets no other begin. It may be
// called more than once.
func (i *Issuer) Close() error {
	i.keys.close()
	return nil
}

// keySource is where the keys of an issuer are.
type keySource interface {
	// current returns the keys that are trusted now. While they are the same,
	// it is the same set.
	current(ctx context.Context, now time.Time) (*KeySet, error)
	// find returns the key with the id, and the set that it is in. An error that
	// is a *fault.Error says that nobody knows now.
	find(ctx context.Context, kid string, now time.Time) (publicKey, *KeySet, error)
}

var errUnknownKey = errors.New("unknown key")

// issuer is what the tokens of one issuer are held to.
type issuer struct {
	c      IssuerConfig
	fleet  bool // its tokens are the fleet's own
	keys   keySource
	leeway time.Duration
	parser *jwt.Parser
}

func newIssuer(v VerifierConfig, c IssuerConfig, keys keySource) *issuer {
	leeway := max(v.Leeway, 0)
	return &issuer{c: c, keys: keys, leeway: leeway, parser: jwt.NewParser(
		jwt.WithValidMethods(c.Algorithms), jwt.WithStrictDecoding(), jwt.WithIssuer(c.Name), jwt.WithAudience(c.Audience),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(leeway), jwt.WithTimeFunc(v.Now),
	)}
}

// verify returns whom the token proves.
func (i *issuer) verify(ctx context.Context, token string, now time.Time) (remembered, error) {
	r := remembered{by: i}
	key := func(t *jwt.Token) (key any, err error) {
		key, r.keys, err = i.key(ctx, t, now)
		return key, err
	}
	c := claims{rolesClaim: i.c.RolesClaim}
	if _, err := i.parser.ParseWithClaims(token, &c, key); err != nil {
		return remembered{}, err
	}
	if err := i.complete(&c); err != nil {
		return remembered{}, err
	}
	r.until = c.ExpiresAt.Add(i.leeway)
	r.principal = Principal{Subject: c.Subject, Roles: c.Roles, Service: c.Service}
	if !i.fleet {
		r.principal.Subject = i.c.Name + "#" + c.Subject
	}
	return r, nil
}

// key returns the key that a token names, before its signature is checked. A
// header that offers a key of its own, or asks for what we do not know, is refused.
func (i *issuer) key(ctx context.Context, t *jwt.Token, now time.Time) (any, *KeySet, error) {
	for name := range t.Header {
		switch name {
		case "jku", "jwk", "x5u", "x5c", "crit", "b64", "zip":
			return nil, nil, errors.New("header " + name + " is refused")
		case "x5t", "x5t#S256": // only the name of a certificate, and some issuers always give it
			if i.fleet {
				return nil, nil, errors.New("header " + name + " is refused")
			}
		}
	}
	typ, _ := t.Header["typ"].(string)
	if !strings.EqualFold(typ, tokenType) && !strings.EqualFold(typ, "application/"+tokenType) {
		return nil, nil, errors.New("type is not " + tokenType)
	}
	kid, _ := t.Header["kid"].(string)
	if kid == "" {
		return nil, nil, errors.New("no key is named")
	}
	key, keys, err := i.keys.find(ctx, kid, now)
	if err != nil {
		return nil, nil, err
	}
	if key.alg != t.Method.Alg() {
		return nil, nil, errors.New("the key is for another algorithm")
	}
	return key.key, keys, nil
}

// complete holds what the parser does not: which claims there must be, and who
// may say that it is a service of the fleet.
func (i *issuer) complete(c *claims) error {
	switch {
	case c.Subject == "":
		return errors.New("no subject")
	case i.fleet && c.NotBefore == nil:
		return errors.New("no time that it holds from")
	case !i.fleet && c.IssuedAt == nil:
		return errors.New("no time that it was issued at")
	case i.fleet:
		if (c.Service != "") != slices.Contains(c.Roles, RoleService) {
			return errors.New("role and claim of a service do not agree")
		}
		return nil
	}
	c.Service = ""
	c.Roles = slices.DeleteFunc(c.Roles, func(role string) bool { return role == RoleService })
	return nil
}

// claims are what a token says.
type claims struct {
	jwt.RegisteredClaims
	Roles   []string `json:"roles,omitempty"`
	Service string   `json:"svc,omitempty"`

	rolesClaim string // where the roles are; empty: in Roles
}

// UnmarshalJSON reads the roles where this issuer has them.
func (c *claims) UnmarshalJSON(text []byte) error {
	if c.rolesClaim == "" {
		type plain claims
		return json.Unmarshal(text, (*plain)(c))
	}
	if err := json.Unmarshal(text, &c.RegisteredClaims); err != nil {
		return err
	}
	return c.readRoles(text)
}

// readRoles takes the roles from the claim that the issuer keeps them in. No
// such claim is no roles; one of another shape is an error.
func (c *claims) readRoles(text json.RawMessage) error {
	path := []string{c.rolesClaim}
	if rest, ok := strings.CutPrefix(c.rolesClaim, "/"); ok {
		path = strings.Split(rest, "/")
		for i := range path { // RFC 6901, section 4: in this order
			path[i] = strings.ReplaceAll(strings.ReplaceAll(path[i], "~1", "/"), "~0", "~")
		}
	}
	for _, name := range path {
		var members map[string]json.RawMessage
		if err := json.Unmarshal(text, &members); err != nil {
			return fmt.Errorf("the claim %s: not an object", c.rolesClaim)
		}
		if text = members[name]; text == nil || bytes.Equal(text, []byte("null")) {
			return nil
		}
	}
	var line string
	if json.Unmarshal(text, &line) == nil {
		c.Roles = strings.Fields(line)
		return nil
	}
	if err := json.Unmarshal(text, &c.Roles); err != nil {
		return fmt.Errorf("the claim %s: neither a list of strings nor a string", c.rolesClaim)
	}
	return nil
}
