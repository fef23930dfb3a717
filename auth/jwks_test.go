package auth

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
)

func TestAnIssuerOutsideIsBelievedBesideTheFleet(t *testing.T) {
	i := newTestIssuer(t)
	all := map[string]signingKey{}
	for _, alg := range algorithms {
		all["key-"+alg] = newSigningKey(t, alg)
	}
	i.publish(all)
	v := i.trusted(t)
	for kid, k := range all {
		for _, round := range []string{"verified", "remembered"} {
			p, err := v.Authenticate(t.Context(), i.token(t, k, kid))
			if err != nil {
				t.Fatalf("%s, %s: %v", kid, round, err)
			}
			if d := cmp.Diff(Principal{Subject: "https://idp.test#u1", Roles: []string{"customer"}}, p); d != "" {
				t.Errorf("%s, %s: (-want +got)\n%s", kid, round, d)
			}
		}
	}
	own := sign(t, newTestSigner(t, i.clock), Principal{Subject: "service/order", Service: "order"}, time.Minute)
	mustBe(t, v, own, "", "the fleet's own token")
	i.mustHaveFetched(t, 1, "four keys")
}

func TestBadTokensOfAnIssuerProveNobodyAndFetchNothing(t *testing.T) {
	i := newTestIssuer(t)
	var elsewhere atomic.Int64
	evil := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer evil.Close()

	ed, ec, rs, ps := newSigningKey(t, algEdDSA), newSigningKey(t, algES256), newSigningKey(t, algRS256), newSigningKey(t, algPS256)
	i.publish(map[string]signingKey{"ed": ed, "ec": ec, "rs": rs})
	v := i.trusted(t)
	good := i.token(t, ed, "ed")
	mustBe(t, v, good, "", "the good token")
	now := i.clock.Now().Unix()
	h := map[string]any{"alg": "EdDSA", "typ": "at+jwt", "kid": "ed"}
	b := map[string]any{"iss": i.name, "aud": "shop", "sub": "u1", "iat": now, "exp": now + 60}
	other := newSigningKey(t, algEdDSA)
	hmac := func(secret []byte) string {
		sig, err := jwt.SigningMethodHS256.Sign(part(t, but(h, "alg", "HS256"))+"."+part(t, b), secret)
		if err != nil {
			t.Fatal(err)
		}
		return part(t, but(h, "alg", "HS256")) + "." + part(t, b) + "." + b64(sig)
	}
	fleet := newTestSigner(t, i.clock)
	ofFleet := signingKey{algEdDSA, newTestKey('a')}

	for name, token := range map[string]string{
		"alg none":                             part(t, but(h, "alg", "none")) + "." + part(t, b) + ".",
		"HMAC with the public key":             hmac(ed.key.Public().(ed25519.PublicKey)),
		"an RSA key used by another algorithm": signed(t, ps, but(h, "alg", "PS256", "kid", "rs"), b),
		"the kid of a key of another type":     signed(t, ed, but(h, "kid", "rs"), b),
		"RS384":                                signed(t, signingKey{"RS384", testRSA()}, but(h, "alg", "RS384", "kid", "rs"), b),
		"another's signature":                  signed(t, other, h, b),
		"kid missing":                          signed(t, ed, but(h, "kid", nil), b),
		"kid empty":                            signed(t, ed, but(h, "kid", ""), b),
		"kid a number":                         signed(t, ed, but(h, "kid", 1), b),
		"typ JWT":                              signed(t, ed, but(h, "typ", "JWT"), b),
		"typ missing":                          signed(t, ed, but(h, "typ", nil), b),
		"jku":                                  signed(t, other, but(h, "jku", evil.URL), b),
		"jku, though the signature is good":    signed(t, ed, but(h, "jku", evil.URL), b),
		"x5u":                                  signed(t, ed, but(h, "x5u", evil.URL), b),
		"jwk":                                  signed(t, other, but(h, "jwk", jwkOf("ed", other)), b),
		"x5c":                                  signed(t, ed, but(h, "x5c", []string{"x"}), b),
		"crit":                                 signed(t, ed, but(h, "crit", []string{"exp"}), b),
		"iss missing":                          signed(t, ed, h, but(b, "iss", nil)),
		"iss another":                          signed(t, ed, h, but(b, "iss", evil.URL)),
		"iss with a slash more":                signed(t, ed, h, but(b, "iss", i.name+"/")),
		"iss the fleet, key of the issuer":     signed(t, ed, h, but(b, "iss", "argosy", "aud", "argosy", "nbf", now)),
		"iss the issuer, key of the fleet":     signed(t, ofFleet, but(h, "kid", fleet.keyID), but(b, "nbf", now)),
		"iss the issuer, then the fleet":       part(t, h) + "." + b64([]byte(`{"iss":"argosy","iss":"https://idp.test","aud":"shop"}`)) + good[strings.LastIndexByte(good, '.'):],
		"aud missing":                          signed(t, ed, h, but(b, "aud", nil)),
		"aud another":                          signed(t, ed, h, but(b, "aud", "bank")),
		"aud of the fleet":                     signed(t, ed, h, but(b, "aud", "argosy")),
		"sub missing":                          signed(t, ed, h, but(b, "sub", nil)),
		"exp missing":                          signed(t, ed, h, but(b, "exp", nil)),
		"exp past the leeway":                  signed(t, ed, h, but(b, "exp", now-31)),
		"nbf in the future":                    signed(t, ed, h, but(b, "nbf", now+31)),
		"iat missing":                          signed(t, ed, h, but(b, "iat", nil)),
		"iat in the future":                    signed(t, ed, h, but(b, "iat", now+31)),
		"roles that are a number":              signed(t, ed, h, but(b, "roles", 1)),
		"roles that are numbers":               signed(t, ed, h, but(b, "roles", []int{1})),
		"too long":                             signed(t, ed, h, but(b, "pad", strings.Repeat("A", maxToken))),
		"an ID token, which is for its client": signed(t, ed, but(h, "typ", "JWT"), but(b, "aud", "web-client")),
		"a signature cut short":                good[:len(good)-2],
		"claims changed after signing":         part(t, h) + "." + part(t, but(b, "sub", "u2")) + good[strings.LastIndexByte(good, '.'):],
		"an ECDSA signature by the key of others": signed(t, newSigningKey(t, algES256), but(h, "alg", "ES256", "kid", "ec"), b),
	} {
		t.Run(name, func(t *testing.T) {
			p, err := v.Authenticate(t.Context(), token)
			if got := reason(err); got != ReasonTokenInvalid && got != ReasonTokenExpired {
				t.Fatalf("got %+v, %v", p, err)
			}
		})
	}
	i.mustHaveFetched(t, 1, "none of these needs a key that is not there")
	mustBe(t, v, signed(t, other, but(h, "kid", "made up"), b), ReasonTokenInvalid, "an unknown key, in the interval after the fetch")
	i.mustHaveFetched(t, 1, "an unknown key, in the interval after the fetch")
	if elsewhere.Load() > 0 {
		t.Error("something that a token said was fetched")
	}
	mustBe(t, v, i.token(t, ed, "ed"), "", "the good token, afterwards")
}

func TestAnIssuerCannotMakeAService(t *testing.T) {
	i := newTestIssuer(t)
	k := newSigningKey(t, algEdDSA)
	i.publish(map[string]signingKey{"k": k})
	p, err := i.trusted(t).Authenticate(t.Context(), i.token(t, k, "k", "svc", "order", "sub", "service/order", "roles", []string{"support", RoleService}))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Principal{Subject: "https://idp.test#service/order", Roles: []string{"support"}}, p); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestRolesAreWhereTheIssuerKeepsThem(t *testing.T) {
	i := newTestIssuer(t)
	k := newSigningKey(t, algEdDSA)
	i.publish(map[string]signingKey{"k": k})
	for name, c := range map[string]struct {
		claim string
		has   any // the claims beside the usual
		want  []string
	}{
		"a list":                   {"groups", map[string]any{"groups": []string{"a", "b"}}, []string{"a", "b"}},
		"a line":                   {"scope", map[string]any{"scope": "a b"}, []string{"a", "b"}},
		"a name with slashes":      {"https://shop.test/roles", map[string]any{"https://shop.test/roles": []string{"a"}}, []string{"a"}},
		"a member of a member":     {"/realm_access/roles", map[string]any{"realm_access": map[string]any{"roles": []string{"a"}}}, []string{"a"}},
		"an escaped member":        {"/https:~1~1x~0y/roles", map[string]any{"https://x~y": map[string]any{"roles": []string{"a"}}}, []string{"a"}},
		"no claim":                 {"groups", map[string]any{}, nil},
		"null":                     {"groups", map[string]any{"groups": nil}, nil},
		"no member of that member": {"/realm_access/roles", map[string]any{"realm_access": map[string]any{}}, nil},
		"not the usual claim":      {"groups", map[string]any{"roles": []string{"a"}}, nil},
		"not another's case":       {"groups", map[string]any{"Groups": []string{"a"}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			v := i.trusted(t, func(ic *IssuerConfig) { ic.RolesClaim = c.claim })
			change := []any{"roles", nil}
			for k, v := range c.has.(map[string]any) {
				change = append(change, k, v)
			}
			p, err := v.Authenticate(t.Context(), i.token(t, k, "k", change...))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, p.Roles); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

func TestKeysAreRotatedWithoutARestart(t *testing.T) {
	i := newTestIssuer(t)
	first, second := newSigningKey(t, algEdDSA), newSigningKey(t, algES256)
	i.publish(map[string]signingKey{"1": first})
	v := i.trusted(t)
	old, next := i.token(t, first, "1"), i.token(t, second, "2")
	mustBe(t, v, old, "", "the first key")
	mustBe(t, v, next, ReasonTokenInvalid, "the second key before it is published")

	i.publish(map[string]signingKey{"1": first, "2": second})
	mustBe(t, v, next, ReasonTokenInvalid, "the second key in the interval: nothing is fetched")
	i.mustHaveFetched(t, 1, "in the interval")
	i.clock.advance(defaultInterval)
	mustBe(t, v, next, "", "the second key after the interval")
	mustBe(t, v, old, "", "the first key beside it")
	i.mustHaveFetched(t, 2, "after the interval")

	i.publish(map[string]signingKey{"2": second})
	i.clock.advance(2*defaultRefresh + time.Second)
	mustBe(t, v, old, ReasonTokenInvalid, "the first key, though its token was remembered")
	mustBe(t, v, next, "", "the second key alone")
	i.mustHaveFetched(t, 3, "after the time of refresh")
}

// Where two keys share an id one after the other, what the first one proved is
// not the second one's.
func TestAKeyThatIsReplacedUnderItsIDProvesNothingMore(t *testing.T) {
	i := newTestIssuer(t)
	stolen, good := newSigningKey(t, algEdDSA), newSigningKey(t, algEdDSA)
	i.publish(map[string]signingKey{"k": stolen})
	v := i.trusted(t)
	token := i.token(t, stolen, "k")
	mustBe(t, v, token, "", "before")
	i.publish(map[string]signingKey{"k": good})
	i.clock.advance(2*defaultRefresh + time.Second)
	mustBe(t, v, token, ReasonTokenInvalid, "after")
	mustBe(t, v, i.token(t, good, "k"), "", "the new one")
}

func TestUnknownKeysCauseOneFetchAnInterval(t *testing.T) {
	i := newTestIssuer(t)
	k := newSigningKey(t, algEdDSA)
	i.publish(map[string]signingKey{"k": k})
	v := i.trusted(t)
	mustBe(t, v, i.token(t, k, "k"), "", "the good key")
	for round := range 3 {
		i.clock.advance(defaultInterval)
		var wg sync.WaitGroup
		for n := range 50 {
			token := i.token(t, k, fmt.Sprintf("made-up-%d-%d", round, n))
			wg.Go(func() {
				if _, err := v.Authenticate(context.Background(), token); reason(err) != ReasonTokenInvalid {
					t.Errorf("got %v", err)
				}
			})
		}
		wg.Wait()
		i.mustHaveFetched(t, int64(2+round), "fifty made-up keys at once")
	}
}

// failures are what an endpoint can do instead of answering with keys. Each
// returns when the request ends.
var failures = map[string]http.HandlerFunc{
	"an error": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "oops", http.StatusInternalServerError) },
	"a redirect": func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/elsewhere" {
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
			return
		}
		answering("application/json", `{"keys":[]}`)(w, r) // who follows it loses all keys
	},
	"a cut connection": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	"an answer that does not begin": func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
	},
	"an answer that does not end": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"keys":[`)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	},
	"a huge document": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"keys":[],"pad":"%s"}`, strings.Repeat("A", maxJWKSBytes))
	},
	"a page":                     answering("text/html", "<html>"),
	"JSON said to be a page":     answering("text/html", `{"keys":[]}`),
	"no keys":                    answering("application/json", `{}`),
	"keys that are null":         answering("application/json", `{"keys":null}`),
	"a list":                     answering("application/json", `[]`),
	"keys that are an object":    answering("application/json", `{"keys":{}}`),
	"two documents":              answering("application/json", `{"keys":[]}{"keys":[]}`),
	"half a document":            answering("application/json", `{"keys":[]`),
	"more keys than anybody has": answering("application/json", `{"keys":[`+strings.Repeat(`{},`, maxJWKSKeys)+`{}]}`),
	"an error with a good document (RFC)": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNonAuthoritativeInfo)
		fmt.Fprint(w, `{"keys":[]}`)
	},
}

func answering(kind, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		fmt.Fprint(w, body)
	}
}

func TestOldKeysAreUsedWhileTheEndpointIsDown(t *testing.T) {
	for name, failure := range failures {
		t.Run(name, func(t *testing.T) {
			i := newTestIssuer(t)
			k := newSigningKey(t, algEdDSA)
			i.publish(map[string]signingKey{"k": k})
			v := i.trusted(t, func(c *IssuerConfig) { c.Timeout = 50 * time.Millisecond })
			mustBe(t, v, i.token(t, k, "k"), "", "while it is up")
			i.answer(failure)
			for range 3 {
				i.clock.advance(2*defaultRefresh + time.Second)
				mustBe(t, v, i.token(t, k, "k"), "", "while it is down")
			}
			mustBe(t, v, i.token(t, k, "new"), ReasonTokenInvalid, "another key while it is down")
			v.trusted[i.name].keys.(*remoteKeys).running.Wait()
			i.clock.advance(defaultKeep)
			mustBe(t, v, i.token(t, k, "k"), ReasonKeysUnavailable, "when they are too old")

			v.trusted[i.name].keys.(*remoteKeys).running.Wait()
			next := newSigningKey(t, algEdDSA)
			i.publish(map[string]signingKey{"new": next})
			i.clock.advance(defaultInterval)
			mustBe(t, v, i.token(t, next, "new"), "", "when it is back")
			mustBe(t, v, i.token(t, k, "k"), ReasonTokenInvalid, "the old key when it is back")
		})
	}
}

func TestWithoutAnyKeysNobodyCanSay(t *testing.T) {
	i := newTestIssuer(t)
	k := newSigningKey(t, algEdDSA)
	i.answer(failures["an error"])
	v := i.trusted(t)
	mustBe(t, v, i.token(t, k, "k"), ReasonKeysUnavailable, "the first call")
	mustBe(t, v, i.token(t, k, "k"), ReasonKeysUnavailable, "the second call")
	i.mustHaveFetched(t, 1, "two calls in an interval")
	own := sign(t, newTestSigner(t, i.clock), Principal{Subject: "u1"}, time.Minute)
	mustBe(t, v, own, "", "the fleet's own token")
	i.publish(map[string]signingKey{"k": k})
	i.clock.advance(defaultInterval)
	mustBe(t, v, i.token(t, k, "k"), "", "when the issuer is back")
}

// A slow endpoint holds up who needs a new key, and nobody else.
func TestASlowEndpointHoldsUpNobodyWhoseKeyIsKnown(t *testing.T) {
	i := newTestIssuer(t)
	k, next := newSigningKey(t, algEdDSA), newSigningKey(t, algEdDSA)
	i.publish(map[string]signingKey{"k": k})
	v := i.trusted(t, func(c *IssuerConfig) { c.Timeout = time.Minute })
	known := i.token(t, k, "k")
	mustBe(t, v, known, "", "before")

	asked, release := make(chan struct{}), make(chan struct{})
	doc := jwksOf(map[string]signingKey{"k": k, "next": next})
	i.answer(func(w http.ResponseWriter, _ *http.Request) {
		close(asked)
		<-release
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(doc)
	})
	i.clock.advance(defaultRefresh)
	mustBe(t, v, known, "", "an old key starts a fetch and does not wait for it")
	<-asked
	mustBe(t, v, known, "", "during the fetch")

	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := v.Authenticate(gone, i.token(t, next, "next")); reason(err) != ReasonKeysUnavailable {
		t.Errorf("a caller who is gone still waited: %v", err)
	}
	var waiters sync.WaitGroup
	unknown := i.token(t, next, "next")
	for range maxWaiting {
		waiters.Go(func() {
			if _, err := v.Authenticate(context.Background(), unknown); err != nil {
				t.Errorf("who waited: %v", err)
			}
		})
	}
	for v.trusted[i.name].keys.(*remoteKeys).waiting.Load() < maxWaiting {
		runtime.Gosched()
	}
	mustBe(t, v, i.token(t, next, "next", "sub", "one too many"), ReasonKeysUnavailable, "one more than may wait")
	close(release)
	waiters.Wait()
	i.mustHaveFetched(t, 2, "all of it")
}

func TestAnEndpointThatIsDownHoldsUpNobody(t *testing.T) {
	i := newTestIssuer(t)
	k := newSigningKey(t, algEdDSA)
	i.publish(map[string]signingKey{"k": k})
	v := i.trusted(t, func(c *IssuerConfig) { c.Timeout = time.Second })
	keys := v.trusted[i.name].keys.(*remoteKeys)
	mustBe(t, v, i.token(t, k, "k"), "", "while it is up")
	i.answer(failures["an error"])
	i.clock.advance(2*defaultRefresh + time.Second)
	mustBe(t, v, i.token(t, k, "k"), "", "the call that finds out that it is down")
	i.answer(failures["an answer that does not begin"])
	i.clock.advance(defaultInterval)
	mustBe(t, v, i.token(t, k, "k"), "", "the next one")
	keys.mu.Lock()
	defer keys.mu.Unlock()
	if keys.flight == nil {
		t.Error("the call waited until the fetch had failed again")
	}
}

func TestClosingEndsTheFetch(t *testing.T) {
	i := newTestIssuer(t)
	k := newSigningKey(t, algEdDSA)
	asked := make(chan struct{}, 1)
	i.answer(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	})
	issuer, err := NewIssuer(IssuerConfig{Name: i.name, Audience: "shop", JWKS: i.URL, Timeout: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	v := NewVerifier(VerifierConfig{Keys: NewKeySet(), Trusted: []*Issuer{issuer}})
	var wg sync.WaitGroup
	token := i.token(t, k, "k")
	wg.Go(func() {
		if _, err := v.Authenticate(context.Background(), token); reason(err) != ReasonKeysUnavailable {
			t.Errorf("got %v", err)
		}
	})
	<-asked
	for range 2 {
		if err := issuer.Close(); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	mustBe(t, v, token, ReasonKeysUnavailable, "after the close")
	if len(asked) > 0 {
		t.Error("a fetch began after the close")
	}
}

func TestKeysInAFile(t *testing.T) {
	i := newTestIssuer(t)
	path := filepath.Join(t.TempDir(), "keys.json")
	first, second := newSigningKey(t, algEdDSA), newSigningKey(t, algEdDSA)
	write := func(keys map[string]signingKey) {
		t.Helper()
		if err := os.WriteFile(path, jwksOf(keys), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(map[string]signingKey{"1": first})
	for _, place := range []string{path, "file://" + path} {
		write(map[string]signingKey{"1": first})
		v := i.trusted(t, func(c *IssuerConfig) { c.JWKS = place })
		mustBe(t, v, i.token(t, first, "1"), "", place)
		write(map[string]signingKey{"2": second})
		i.clock.advance(2*defaultRefresh + time.Second)
		mustBe(t, v, i.token(t, first, "1"), ReasonTokenInvalid, place+", rotated")
		mustBe(t, v, i.token(t, second, "2"), "", place+", rotated")
	}
	i.mustHaveFetched(t, 0, "files")
}

func TestIssuersThatAreRefused(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.json")
	if err := os.WriteFile(bad, []byte("<html>"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := IssuerConfig{Name: "https://idp.test", Audience: "shop", JWKS: "https://idp.test/keys"}
	for name, change := range map[string]func(*IssuerConfig){
		"no name":                   func(c *IssuerConfig) { c.Name = "" },
		"the name of the fleet":     func(c *IssuerConfig) { c.Name = "argosy" },
		"no audience":               func(c *IssuerConfig) { c.Audience = "" },
		"no keys":                   func(c *IssuerConfig) { c.JWKS = "" },
		"HTTP of another machine":   func(c *IssuerConfig) { c.JWKS = "http://idp.test/keys" },
		"a name that looks local":   func(c *IssuerConfig) { c.JWKS = "http://localhost.evil.test/keys" },
		"another scheme":            func(c *IssuerConfig) { c.JWKS = "ftp://idp.test/keys" },
		"a file of another machine": func(c *IssuerConfig) { c.JWKS = "file://idp.test/keys" },
		"a password in the URL":     func(c *IssuerConfig) { c.JWKS = "https://user:hunter2@idp.test/keys" },
		"no URL at all":             func(c *IssuerConfig) { c.JWKS = "https://hunter2\x7f" },
		"no host":                   func(c *IssuerConfig) { c.JWKS = "https:///keys" },
		"no such file":              func(c *IssuerConfig) { c.JWKS = filepath.Join(dir, "none.json") },
		"a directory":               func(c *IssuerConfig) { c.JWKS = dir },
		"a file that is no set":     func(c *IssuerConfig) { c.JWKS = bad },
		"alg none":                  func(c *IssuerConfig) { c.Algorithms = []string{"none"} },
		"a shared key":              func(c *IssuerConfig) { c.Algorithms = []string{"HS256"} },
	} {
		t.Run(name, func(t *testing.T) {
			c := good
			change(&c)
			_, err := NewIssuer(c)
			if err == nil {
				t.Fatal("accepted")
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
	if _, err := NewIssuer(good); err != nil {
		t.Errorf("the good one: %v", err)
	}
}
