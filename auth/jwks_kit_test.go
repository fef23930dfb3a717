package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// testIssuer is an authority outside the fleet, with an endpoint that can go
// wrong in every way.
type testIssuer struct {
	*httptest.Server
	name    string
	clock   *clock
	fetches atomic.Int64

	mu   sync.Mutex
	keys map[string]signingKey
	take http.HandlerFunc // instead of the keys; nil: the keys
}

// signingKey is a private key and the algorithm that it signs with.
type signingKey struct {
	alg string
	key crypto.Signer
}

func newTestIssuer(t testing.TB) *testIssuer {
	t.Helper()
	i := &testIssuer{name: "https://idp.test", clock: newClock(), keys: map[string]signingKey{}}
	i.Server = httptest.NewServer(i)
	t.Cleanup(i.Server.Close)
	return i
}

func (i *testIssuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.fetches.Add(1)
	i.mu.Lock()
	take, doc := i.take, jwksOf(i.keys)
	i.mu.Unlock()
	if take != nil {
		take(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	_, _ = w.Write(doc)
}

// publish replaces the keys of the endpoint; answer makes it do something else.
func (i *testIssuer) publish(keys map[string]signingKey) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys, i.take = maps.Clone(keys), nil
}

func (i *testIssuer) answer(f http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.take = f
}

// trusted returns a verifier of the fleet's own tokens that trusts the issuer too.
func (i *testIssuer) trusted(t testing.TB, change ...func(*IssuerConfig)) *Verifier {
	t.Helper()
	c := IssuerConfig{Name: i.name, Audience: "shop", JWKS: i.URL, Now: i.clock.Now}
	for _, f := range change {
		f(&c)
	}
	issuer, err := NewIssuer(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = issuer.Close() })
	return newTestSigner(t, i.clock).Authenticator(issuer).(*Verifier)
}

// token signs what the issuer says of somebody.
func (i *testIssuer) token(t testing.TB, k signingKey, kid string, change ...any) string {
	t.Helper()
	now := i.clock.Now().Unix()
	body := but(map[string]any{"iss": i.name, "aud": "shop", "sub": "u1", "iat": now, "exp": now + 3600, "roles": []string{"customer"}}, change...)
	return signed(t, k, map[string]any{"alg": k.alg, "typ": "at+jwt", "kid": kid}, body)
}

func signed(t testing.TB, k signingKey, header, body map[string]any) string {
	t.Helper()
	input := part(t, header) + "." + part(t, body)
	sig, err := jwt.GetSigningMethod(k.alg).Sign(input, k.key)
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(sig)
}

var testRSA = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, minRSABits)
	if err != nil {
		panic(err)
	}
	return k
})

// newSigningKey returns a new key for the algorithm; RSA keys are slow to make
// and shared.
func newSigningKey(t testing.TB, alg string) signingKey {
	t.Helper()
	var k crypto.Signer
	var err error
	switch alg {
	case algEdDSA:
		_, k, err = ed25519.GenerateKey(rand.Reader)
	case algES256:
		k, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	default:
		k = testRSA()
	}
	if err != nil {
		t.Fatal(err)
	}
	return signingKey{alg, k}
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// jwkOf writes the public key as RFC 7517 and RFC 7518 have it.
func jwkOf(kid string, k signingKey) map[string]any {
	m := map[string]any{"kid": kid, "alg": k.alg, "use": "sig"}
	switch p := k.key.Public().(type) {
	case ed25519.PublicKey:
		m["kty"], m["crv"], m["x"] = "OKP", "Ed25519", b64(p)
	case *ecdsa.PublicKey:
		point, _ := p.Bytes()
		m["kty"], m["crv"], m["x"], m["y"] = "EC", "P-256", b64(point[1:33]), b64(point[33:])
	case *rsa.PublicKey:
		m["kty"], m["n"], m["e"] = "RSA", b64(p.N.Bytes()), b64(big.NewInt(int64(p.E)).Bytes())
	}
	return m
}

func jwksOf(keys map[string]signingKey) []byte {
	list := []any{}
	for _, kid := range slices.Sorted(maps.Keys(keys)) {
		list = append(list, jwkOf(kid, keys[kid]))
	}
	text, err := json.Marshal(map[string]any{"keys": list})
	if err != nil {
		panic(err)
	}
	return text
}

// mustBe asks who holds the token and compares the reason of the refusal; "" is
// none.
func mustBe(t *testing.T, a Authenticator, token, want, when string) {
	t.Helper()
	if _, err := a.Authenticate(t.Context(), token); reason(err) != want {
		t.Errorf("%s: got %q (%v), want %q", when, reason(err), err, want)
	}
}

func (i *testIssuer) mustHaveFetched(t *testing.T, want int64, when string) {
	t.Helper()
	if got := i.fetches.Load(); got != want {
		t.Errorf("%s: the keys were fetched %d times, want %d", when, got, want)
	}
}
