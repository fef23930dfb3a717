package auth

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
)

// Bounds of a JWKS document: verifying with an RSA key grows with the square of
// its length, and a document is read whole.
const (
	maxJWKSBytes = 256 << 10
	maxJWKSKeys  = 256
	maxKeyID     = 256
	minRSABits   = 2048 // RFC 7518, section 3.3
	maxRSABits   = 8192
)

// foreignKey is a public key as RFC 7517 and RFC 7518 write it.
type foreignKey struct {
	Kty    string   `json:"kty"`
	Kid    string   `json:"kid"`
	Use    string   `json:"use"`
	KeyOps []string `json:"key_ops"`
	Alg    string   `json:"alg"`
	Crv    string   `json:"crv"`
	X      string   `json:"x"`
	Y      string   `json:"y"`
	N      string   `json:"n"`
	E      string   `json:"e"`
	D      string   `json:"d"` // of a private key
	K      string   `json:"k"` // of a shared one
}

// parseJWKS reads a JWKS document and keeps the keys that verify signatures
// with one of the algorithms. As RFC 7517, section 5, wants it, a key that
// cannot be used (of another type, for encryption, without an id, too short, a
// private one) is passed over, so that an issuer can add what we do not know; a
// document that is not a set of keys, or that gives one id to two of them, is
// an error.
func parseJWKS(text []byte, algs []string) (*KeySet, error) {
	if len(text) > maxJWKSBytes {
		return nil, fmt.Errorf("over %d bytes", maxJWKSBytes)
	}
	var doc struct {
		Keys []json.RawMessage `json:"keys"`
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&doc); err != nil {
		return nil, errors.New("not a JSON object with a list of keys")
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something comes after the JSON object")
	}
	if doc.Keys == nil {
		return nil, errors.New(`no member "keys"`)
	}
	if len(doc.Keys) > maxJWKSKeys {
		return nil, fmt.Errorf("%d keys, of at most %d", len(doc.Keys), maxJWKSKeys)
	}
	set := &KeySet{keys: map[string]publicKey{}}
	for _, raw := range doc.Keys {
		var f foreignKey
		if err := json.Unmarshal(raw, &f); err != nil {
			continue
		}
		key, ok := f.public()
		if !ok || !slices.Contains(algs, key.alg) {
			continue
		}
		if _, twice := set.keys[f.Kid]; twice {
			return nil, errors.New("two keys have one id")
		}
		set.keys[f.Kid] = key
	}
	return set, nil
}

// public returns the key and its only algorithm, if it is one that can be used.
func (f *foreignKey) public() (publicKey, bool) {
	if f.Kid == "" || len(f.Kid) > maxKeyID || f.D != "" || f.K != "" {
		return publicKey{}, false
	}
	if f.Use != "" && f.Use != "sig" || f.KeyOps != nil && !slices.Contains(f.KeyOps, "verify") {
		return publicKey{}, false
	}
	var key crypto.PublicKey
	alg := f.Alg
	switch {
	case f.Kty == "OKP" && f.Crv == "Ed25519" && f.is(algEdDSA, &alg):
		key = f.ed25519()
	case f.Kty == "EC" && f.Crv == "P-256" && f.is(algES256, &alg):
		key = f.ecdsa()
	case f.Kty == "RSA" && (f.is(algRS256, &alg) || f.is(algPS256, &alg)):
		key = f.rsa()
	}
	return publicKey{alg, key}, key != nil
}

// is reports whether the key is for the algorithm, and makes it so where the
// key does not say.
func (f *foreignKey) is(want string, alg *string) bool {
	if *alg == "" {
		*alg = want
	}
	return *alg == want
}

// The following return nil, and not a nil key, for what is none.

func (f *foreignKey) ed25519() crypto.PublicKey {
	x, ok := octets(f.X, ed25519.PublicKeySize)
	if !ok {
		return nil
	}
	return ed25519.PublicKey(x)
}

func (f *foreignKey) ecdsa() crypto.PublicKey {
	x, okX := octets(f.X, 32)
	y, okY := octets(f.Y, 32)
	if !okX || !okY {
		return nil
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y)) // refuses what is not on the curve
	if err != nil {
		return nil
	}
	return key
}

func (f *foreignKey) rsa() crypto.PublicKey {
	n, okN := octets(f.N, 0)
	e, okE := octets(f.E, 0)
	if !okN || !okE {
		return nil
	}
	modulus, exponent := new(big.Int).SetBytes(n), new(big.Int).SetBytes(e)
	if bits := modulus.BitLen(); bits < minRSABits || bits > maxRSABits || modulus.Bit(0) == 0 {
		return nil
	}
	if exponent.BitLen() > 31 || exponent.Bit(0) == 0 || exponent.Cmp(big.NewInt(3)) < 0 {
		return nil
	}
	return &rsa.PublicKey{N: modulus, E: int(exponent.Int64())}
}

// octets decodes base64url without padding, and holds it to the length; zero is any.
func octets(text string, length int) ([]byte, bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return b, err == nil && len(b) > 0 && (length == 0 || len(b) == length)
}
