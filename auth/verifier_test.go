package auth

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
)

// clock is a time that stands still until it is moved.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.at.Store(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) Now() time.Time          { return time.Unix(0, c.at.Load()) }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

// newTestKey returns a key that is the same in every run.
func newTestKey(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(seed)), ed25519.SeedSize)))
}

func newTestSigner(t testing.TB, c *clock) *Signer {
	t.Helper()
	s, err := NewSigner(SignerConfig{Key: newTestKey('a'), Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sign(t testing.TB, s *Signer, p Principal, ttl time.Duration) string {
	t.Helper()
	token, _, err := s.Sign(p, ttl)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestATokenProvesWhoItWasGivenTo(t *testing.T) {
	c := newClock()
	s := newTestSigner(t, c)
	for name, p := range map[string]struct{ given, proved Principal }{
		"a person with roles": {
			Principal{Subject: "u1", Roles: []string{"customer", "support"}},
			Principal{Subject: "u1", Roles: []string{"customer", "support"}},
		},
		"a person without roles": {Principal{Subject: "u2"}, Principal{Subject: "u2"}},
		"a service, which has its role always": {
			Principal{Subject: "service/order", Service: "order"},
			Principal{Subject: "service/order", Service: "order", Roles: []string{RoleService}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			token, expires, err := s.Sign(p.given, 15*time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			if want := c.Now().Add(15 * time.Minute); !expires.Equal(want) {
				t.Errorf("expires %v, want %v", expires, want)
			}
			a := s.Authenticator()
			for _, round := range []string{"verified", "remembered"} {
				got, err := a.Authenticate(t.Context(), token)
				if err != nil {
					t.Fatalf("%s: %v", round, err)
				}
				if d := cmp.Diff(p.proved, got); d != "" {
					t.Errorf("%s: (-want +got)\n%s", round, d)
				}
			}
		})
	}
}

func TestNobodyGetsATokenThatSaysTooMuch(t *testing.T) {
	s := newTestSigner(t, newClock())
	for name, c := range map[string]struct {
		p   Principal
		ttl time.Duration
	}{
		"nobody":                           {Principal{}, time.Hour},
		"a person who claims to be served": {Principal{Subject: "u", Roles: []string{RoleService}}, time.Hour},
		"no time at all":                   {Principal{Subject: "u"}, 0},
		"somebody with endless roles":      {Principal{Subject: "u", Roles: slices.Repeat([]string{"role"}, 1000)}, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			if token, _, err := s.Sign(c.p, c.ttl); err == nil {
				t.Fatalf("got %q", token)
			}
		})
	}
}

// forge makes a token of any header and claims, signed with Ed25519 by key.
func forge(t testing.TB, key ed25519.PrivateKey, header, claims map[string]any) string {
	t.Helper()
	input := part(t, header) + "." + part(t, claims)
	return input + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, []byte(input)))
}

func part(t testing.TB, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// but returns m with some members changed; nil removes one.
func but(m map[string]any, kv ...any) map[string]any {
	m = maps.Clone(m)
	for i := 0; i < len(kv); i += 2 {
		if kv[i+1] == nil {
			delete(m, kv[i].(string))
		} else {
			m[kv[i].(string)] = kv[i+1]
		}
	}
	return m
}

func TestBadTokensProveNobodyAndFetchNothing(t *testing.T) {
	fetched := make(chan string, 100)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { fetched <- r.URL.Path }))
	defer elsewhere.Close()

	c := newClock()
	s := newTestSigner(t, c)
	key, kid, now := newTestKey('a'), s.keyID, c.Now().Unix()
	other := newTestKey('b')
	otherPublic := other.Public().(ed25519.PublicKey)
	jwkOfOther := map[string]any{"kty": "OKP", "crv": "Ed25519", "x": base64.RawURLEncoding.EncodeToString(otherPublic)}
	h := map[string]any{"alg": "EdDSA", "typ": "at+jwt", "kid": kid}
	b := map[string]any{"iss": "argosy", "aud": "argosy", "sub": "u1", "exp": now + 60, "nbf": now, "iat": now, "roles": []string{"customer"}}
	good := forge(t, key, h, b)
	dot := strings.LastIndexByte(good, '.')
	mac := hmac.New(sha256.New, key.Public().(ed25519.PublicKey))
	hs := part(t, but(h, "alg", "HS256")) + "." + part(t, b)
	mac.Write([]byte(hs))

	for name, token := range map[string]string{
		"empty":                              "",
		"not a token":                        "hello",
		"two parts":                          good[:dot],
		"four parts":                         good + ".x",
		"JSON instead of base64":             `{"alg":"none"}.{}.x`,
		"padded base64":                      good + "=",
		"a space in it":                      " " + good,
		"too long":                           good[:dot] + strings.Repeat("A", maxToken) + good[dot:],
		"alg none, no signature":             part(t, but(h, "alg", "none")) + "." + part(t, b) + ".",
		"alg None, in another case":          part(t, but(h, "alg", "NoNe")) + "." + part(t, b) + ".",
		"alg none, old signature":            part(t, but(h, "alg", "none")) + good[strings.IndexByte(good, '.'):],
		"HMAC with the public key":           hs + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)),
		"alg RS256":                          forge(t, key, but(h, "alg", "RS256"), b),
		"alg missing":                        forge(t, key, but(h, "alg", nil), b),
		"alg in another case":                forge(t, key, but(h, "alg", "eddsa"), b),
		"no signature":                       good[:dot+1],
		"a signature cut short":              good[:len(good)-4],
		"another's signature":                forge(t, other, h, b),
		"claims changed after signing":       part(t, h) + "." + part(t, but(b, "sub", "u2")) + good[dot:],
		"typ missing":                        forge(t, key, but(h, "typ", nil), b),
		"typ JWT: an ID token, perhaps":      forge(t, key, but(h, "typ", "JWT"), b),
		"typ not a string":                   forge(t, key, but(h, "typ", 1), b),
		"kid missing":                        forge(t, key, but(h, "kid", nil), b),
		"kid unknown":                        forge(t, other, but(h, "kid", keyID(otherPublic)), b),
		"kid a path":                         forge(t, key, but(h, "kid", "../../"+kid), b),
		"kid not a string":                   forge(t, key, but(h, "kid", []string{kid}), b),
		"jku":                                forge(t, other, but(h, "jku", elsewhere.URL+"/jku"), b),
		"jku, though the signature is good":  forge(t, key, but(h, "jku", elsewhere.URL+"/jku"), b),
		"x5u":                                forge(t, key, but(h, "x5u", elsewhere.URL+"/x5u"), b),
		"jwk":                                forge(t, other, but(h, "jwk", jwkOfOther), b),
		"jwk, though the signature is good":  forge(t, key, but(h, "jwk", jwkOfOther), b),
		"x5c":                                forge(t, key, but(h, "x5c", []string{"x"}), b),
		"a critical extension":               forge(t, key, but(h, "crit", []string{"exp"}), b),
		"a detached payload":                 forge(t, key, but(h, "b64", false), b),
		"a compressed payload":               forge(t, key, but(h, "zip", "DEF"), b),
		"iss missing":                        forge(t, key, h, but(b, "iss", nil)),
		"iss another":                        forge(t, key, h, but(b, "iss", elsewhere.URL)),
		"aud missing":                        forge(t, key, h, but(b, "aud", nil)),
		"aud another":                        forge(t, key, h, but(b, "aud", []string{"bank"})),
		"aud empty":                          forge(t, key, h, but(b, "aud", []string{})),
		"sub missing":                        forge(t, key, h, but(b, "sub", nil)),
		"sub empty":                          forge(t, key, h, but(b, "sub", "")),
		"sub a number":                       forge(t, key, h, but(b, "sub", 1)),
		"exp missing":                        forge(t, key, h, but(b, "exp", nil)),
		"exp past the leeway":                forge(t, key, h, but(b, "exp", now-31)),
		"exp a string":                       forge(t, key, h, but(b, "exp", "never")),
		"exp zero":                           forge(t, key, h, but(b, "exp", 0)),
		"nbf missing":                        forge(t, key, h, but(b, "nbf", nil)),
		"nbf in the future":                  forge(t, key, h, but(b, "nbf", now+31)),
		"iat in the future":                  forge(t, key, h, but(b, "iat", now+31)),
		"the role of a service, for nobody":  forge(t, key, h, but(b, "roles", []string{RoleService})),
		"the claim of a service, no role":    forge(t, key, h, but(b, "svc", "order")),
		"claims that are a list":             part(t, h) + "." + part(t, []int{1}) + good[dot:],
		"claims that are null":               forge(t, key, h, nil),
		"two JSON values in the claims":      part(t, h) + "." + base64.RawURLEncoding.EncodeToString([]byte(`{}{}`)) + good[dot:],
		"Bearer still in front of the token": "Bearer " + good,
	} {
		t.Run(name, func(t *testing.T) {
			for _, a := range []Authenticator{s.Authenticator(), NewVerifier(VerifierConfig{Keys: s.Keys(), Now: c.Now, Remember: -1})} {
				p, err := a.Authenticate(t.Context(), token)
				var e *fault.Error
				if !errors.As(err, &e) || e.Code != codes.Unauthenticated || e.HTTPStatus() != http.StatusUnauthorized || !e.NotDone {
					t.Fatalf("got %+v, %v; want UNAUTHENTICATED", p, err)
				}
				if d := cmp.Diff(Principal{}, p); d != "" {
					t.Errorf("a refused token proves %+v", p)
				}
				for _, secret := range strings.Split(token, ".") {
					if len(secret) > 5 && (strings.Contains(e.Message, secret) || strings.Contains(e.Error(), secret)) {
						t.Errorf("the error shows a part of the token: %v", e)
					}
				}
			}
		})
	}
	if _, err := s.Authenticator().Authenticate(t.Context(), good); err != nil {
		t.Errorf("the token that the others were made of is refused: %v", err)
	}
	if len(fetched) > 0 {
		t.Errorf("fetched %s", <-fetched)
	}
}

func TestATokenEndsThoughItIsRemembered(t *testing.T) {
	c := newClock()
	s := newTestSigner(t, c)
	a := s.Authenticator()
	token := sign(t, s, Principal{Subject: "u1"}, time.Minute)
	for _, step := range []struct {
		after time.Duration
		want  string
	}{{0, ""}, {89 * time.Second, ""}, {time.Second, ReasonTokenExpired}, {time.Hour, ReasonTokenExpired}} {
		c.advance(step.after)
		_, err := a.Authenticate(t.Context(), token)
		if got := reason(err); got != step.want {
			t.Errorf("%v on: got %q (%v), want %q", step.after, got, err, step.want)
		}
	}
}

func reason(err error) string {
	if err == nil {
		return ""
	}
	return fault.From(err).Reason
}

func TestAHandlerCannotChangeWhatIsRemembered(t *testing.T) {
	c := newClock()
	s := newTestSigner(t, c)
	a := s.Authenticator()
	token := sign(t, s, Principal{Subject: "u1", Roles: []string{"customer"}}, time.Hour)
	for range 3 {
		p, err := a.Authenticate(t.Context(), token)
		if err != nil {
			t.Fatal(err)
		}
		if p.Has("admin") {
			t.Fatal("one request gave the next one a role")
		}
		p.Roles[0] = "admin"
	}
}

func TestMemoryIsBoundedAndKeepsWhatIsUsed(t *testing.T) {
	c := newClock()
	s := newTestSigner(t, c)
	v := NewVerifier(VerifierConfig{Keys: s.Keys(), Now: c.Now, Remember: 10})
	use := func(token string) {
		t.Helper()
		if _, err := v.Authenticate(t.Context(), token); err != nil {
			t.Fatal(err)
		}
	}
	busy := sign(t, s, Principal{Subject: "busy"}, time.Hour)
	use(busy)
	for range 100 {
		use(sign(t, s, Principal{Subject: "once"}, time.Hour))
		use(busy)
		if n := len(v.known.young) + len(v.known.old); n > 10 {
			t.Fatalf("%d tokens are remembered, of 10", n)
		}
	}
	if _, ok := v.known.get(tokenID(busy), c.Now()); !ok {
		t.Error("the token that is used all the time was forgotten")
	}
}

func FuzzAuthenticate(f *testing.F) {
	c := newClock()
	s := newTestSigner(f, c)
	now := c.Now().Unix()
	good := forge(f, newTestKey('a'), // the same in every process that fuzzes
		map[string]any{"alg": "EdDSA", "typ": "at+jwt", "kid": s.keyID},
		map[string]any{"iss": "argosy", "aud": "argosy", "sub": "u1", "exp": now + 60, "nbf": now})
	other, err := NewSigner(SignerConfig{Key: newTestKey('b'), Now: c.Now})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{good, good[:len(good)-1], sign(f, other, Principal{Subject: "u1"}, time.Hour), "", "..", "e30.e30.", "a.b.c.d"} {
		f.Add(seed)
	}
	a := s.Authenticator()
	f.Fuzz(func(t *testing.T, token string) {
		p, err := a.Authenticate(context.Background(), token)
		if err == nil && token != good {
			t.Fatalf("%q proves %+v", token, p)
		}
		if err != nil && fault.CodeOf(err) != codes.Unauthenticated {
			t.Fatalf("%v is not UNAUTHENTICATED", err)
		}
	})
}
