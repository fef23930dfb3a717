package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
)

func TestWhichKeysOfADocumentAreUsed(t *testing.T) {
	ed, ec, rs := jwkOf("k", newSigningKey(t, algEdDSA)), jwkOf("k", newSigningKey(t, algES256)), jwkOf("k", newSigningKey(t, algRS256))
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	big384, err := p384.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	bits := func(n uint) string { // an odd number of n bits
		return b64(new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), n-1), big.NewInt(1)).Bytes())
	}
	for name, c := range map[string]struct {
		key  map[string]any
		want string // its algorithm; "" is not used
	}{
		"Ed25519":                              {ed, algEdDSA},
		"P-256":                                {ec, algES256},
		"RSA":                                  {rs, algRS256},
		"RSA for PSS":                          {but(rs, "alg", "PS256"), algPS256},
		"Ed25519 that does not say":            {but(ed, "alg", nil), algEdDSA},
		"P-256 that does not say":              {but(ec, "alg", nil), algES256},
		"RSA that does not say":                {but(rs, "alg", nil), algRS256},
		"no use":                               {but(ed, "use", nil), algEdDSA},
		"to verify":                            {but(ed, "key_ops", []string{"verify"}), algEdDSA},
		"members that nobody knows":            {but(ed, "x5t", "x", "more", map[string]any{}), algEdDSA},
		"RSA with zeros in front":              {but(rs, "n", b64(append([]byte{0}, testRSA().N.Bytes()...))), algRS256},
		"the largest RSA":                      {but(rs, "n", bits(maxRSABits)), algRS256},
		"no id":                                {but(ed, "kid", nil), ""},
		"an empty id":                          {but(ed, "kid", ""), ""},
		"an id that is a number":               {but(ed, "kid", 1), ""},
		"an endless id":                        {but(ed, "kid", strings.Repeat("k", maxKeyID+1)), ""},
		"for encryption":                       {but(ed, "use", "enc"), ""},
		"to sign":                              {but(ed, "key_ops", []string{"sign"}), ""},
		"for nothing":                          {but(ed, "key_ops", []string{}), ""},
		"a private key":                        {but(ed, "d", b64(make([]byte, 32))), ""},
		"a shared key":                         {map[string]any{"kid": "k", "kty": "oct", "k": "aGVsbG8"}, ""},
		"a shared key, said to be Ed25519":     {but(ed, "kty", "oct"), ""},
		"another type":                         {but(ed, "kty", "LMS"), ""},
		"another curve":                        {but(ed, "crv", "Ed448"), ""},
		"another algorithm":                    {but(ed, "alg", "HS256"), ""},
		"the algorithm of another type":        {but(ed, "alg", "RS256"), ""},
		"RSA for a longer hash":                {but(rs, "alg", "RS512"), ""},
		"Ed25519, short":                       {but(ed, "x", b64(make([]byte, 31))), ""},
		"Ed25519, long":                        {but(ed, "x", b64(make([]byte, 33))), ""},
		"Ed25519, padded":                      {but(ed, "x", ed["x"].(string)+"="), ""},
		"Ed25519, none":                        {but(ed, "x", nil), ""},
		"P-256, not on the curve":              {but(ec, "y", ec["x"]), ""},
		"P-256, the point at infinity":         {but(ec, "x", b64(make([]byte, 32)), "y", b64(make([]byte, 32))), ""},
		"P-256, a coordinate short":            {but(ec, "x", b64(make([]byte, 31))), ""},
		"P-256 with a point of P-384":          {but(ec, "x", b64(big384[1:49]), "y", b64(big384[49:])), ""},
		"P-384":                                {but(ec, "crv", "P-384", "x", b64(big384[1:49]), "y", b64(big384[49:])), ""},
		"RSA of 2047 bits":                     {but(rs, "n", bits(2047)), ""},
		"RSA of 1024 bits":                     {but(rs, "n", bits(1024)), ""},
		"RSA so long that it is slow":          {but(rs, "n", bits(maxRSABits+1)), ""},
		"RSA with an even modulus":             {but(rs, "n", b64(new(big.Int).Lsh(big.NewInt(1), 2047).Bytes())), ""},
		"RSA with exponent 1":                  {but(rs, "e", b64([]byte{1})), ""},
		"RSA with an even exponent":            {but(rs, "e", b64([]byte{1, 0, 0})), ""},
		"RSA with an exponent that is so long": {but(rs, "e", b64([]byte{1, 0, 0, 0, 1})), ""},
		"RSA without an exponent":              {but(rs, "e", nil), ""},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := json.Marshal(map[string]any{"keys": []any{c.key, "no key at all", nil}})
			if err != nil {
				t.Fatal(err)
			}
			set, err := parseJWKS(text, algorithms)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, k := range set.keys {
				got = k.alg
			}
			if got != c.want {
				t.Errorf("used for %q, want %q", got, c.want)
			}
			if set, err = parseJWKS(text, []string{"of no use"}); err != nil || len(set.keys) != 0 {
				t.Errorf("an algorithm that the issuer does not use: %v, %v", set, err)
			}
		})
	}
}

func TestAnIDOfTwoKeysSpoilsTheDocument(t *testing.T) {
	list := []any{jwkOf("k", newSigningKey(t, algEdDSA)), jwkOf("k", newSigningKey(t, algEdDSA))}
	text, err := json.Marshal(map[string]any{"keys": list})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parseJWKS(text, algorithms); err == nil {
		t.Error("accepted")
	}
}

func TestTheFleetsOwnDocumentIsRead(t *testing.T) {
	own := NewKeySet(newTestKey('a').Public().(ed25519.PublicKey), newTestKey('b').Public().(ed25519.PublicKey))
	set, err := parseJWKS(own.jwks, algorithms)
	if err != nil || len(set.keys) != 2 {
		t.Fatalf("got %v, %v", set, err)
	}
}

// Whatever a document holds, a key that comes out of it can be used safely.
func FuzzJWKS(f *testing.F) {
	f.Add(jwksOf(map[string]signingKey{"ed": newSigningKey(f, algEdDSA), "ec": newSigningKey(f, algES256)}))
	for _, seed := range []string{
		``, `{}`, `{"keys":[]}`, `{"keys":null}`, `{"keys":[null,1,{}]}`, `{"keys":[]} {}`,
		`{"keys":[{"kid":"a","kty":"RSA","n":"AQAB","e":"AQAB"}]}`,
		`{"keys":[{"kid":"a","kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`,
		`{"keys":[{"kid":"a","kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		set, err := parseJWKS(text, algorithms)
		if err != nil {
			return
		}
		for kid, k := range set.keys {
			if kid == "" || len(kid) > maxKeyID {
				t.Errorf("id %q", kid)
			}
			switch key := k.key.(type) {
			case ed25519.PublicKey:
				if k.alg != algEdDSA || len(key) != ed25519.PublicKeySize {
					t.Errorf("%s: %v", k.alg, key)
				}
			case *ecdsa.PublicKey:
				if _, err := key.Bytes(); err != nil || k.alg != algES256 || key.Curve != elliptic.P256() {
					t.Errorf("%s: %v, %v", k.alg, key, err)
				}
			case *rsa.PublicKey:
				if n := key.N.BitLen(); n < minRSABits || n > maxRSABits || key.E < 3 || k.alg != algRS256 && k.alg != algPS256 {
					t.Errorf("%s: %d bits, exponent %d", k.alg, n, key.E)
				}
				sum := make([]byte, 32)
				_ = rsa.VerifyPKCS1v15(key, crypto.SHA256, sum, make([]byte, (key.N.BitLen()+7)/8)) // must not panic
			default:
				t.Errorf("a key of type %T", key)
			}
		}
	})
}
