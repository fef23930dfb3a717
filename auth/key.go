package auth

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// KeySet is a set of public keys that tokens are verified with, by key id. It
// is immutable and safe for concurrent use.
type KeySet struct {
	keys map[string]publicKey
	jwks []byte
}

// publicKey is a key and the only algorithm that it is used with: a key that
// the token may choose an algorithm for is how verifiers are tricked (RFC 8725,
// section 3.1).
type publicKey struct {
	alg string
	key crypto.PublicKey
}

// jwk is a public key as RFC 8037 writes it.
type jwk struct {
	Kty string `json:"kty"`
	Crv string `json:"crv"`
	X   string `json:"x"`
	Kid string `json:"kid"`
	Use string `json:"use"`
	Alg string `json:"alg"`
}

// NewKeySet returns the set of these keys.
func NewKeySet(keys ...ed25519.PublicKey) *KeySet {
	s := &KeySet{keys: map[string]publicKey{}}
	doc := struct {
		Keys []jwk `json:"keys"`
	}{Keys: []jwk{}}
	for _, k := range keys {
		id := keyID(k)
		if _, ok := s.keys[id]; ok {
			continue
		}
		s.keys[id] = publicKey{algEdDSA, k}
		doc.Keys = append(doc.Keys, jwk{"OKP", "Ed25519", base64.RawURLEncoding.EncodeToString(k), id, "sig", "EdDSA"})
	}
	s.jwks, _ = json.Marshal(doc) // strings only: cannot fail
	return s
}

// current and find make a set a source of keys that never change.
func (s *KeySet) current(context.Context, time.Time) (*KeySet, error) { return s, nil }

func (s *KeySet) find(_ context.Context, kid string, _ time.Time) (publicKey, *KeySet, error) {
	key, ok := s.keys[kid]
	if !ok {
		return publicKey{}, nil, errUnknownKey
	}
	return key, s, nil
}

// Handler serves the set as a JWKS document (RFC 7517), for programs outside
// the fleet that verify its tokens.
func (s *KeySet) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Content-Type", "application/jwk-set+json")
		w.Header().Set("Cache-Control", "public, max-age=300")
		_, _ = w.Write(s.jwks) // the client may be gone; nobody is left to tell
	})
}

// keyID is the thumbprint of the key (RFC 7638 with the members of RFC 8037),
// so that a key has one id everywhere.
func keyID(k ed25519.PublicKey) string {
	sum := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + base64.RawURLEncoding.EncodeToString(k) + `"}`))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

const pemType = "PRIVATE KEY" // PKCS #8

// loadKey reads the private key at path, and makes it when there is none: mode
// 0600, complete and on disk before its name exists. Of several processes that
// make it at once, all get the same key.
func loadKey(path string) (ed25519.PrivateKey, error) {
	key, err := readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := makeKey(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make key: %w", err)
	}
	return readKey(path)
}

func readKey(path string) (ed25519.PrivateKey, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("key file %s has mode %04o: others could sign tokens; chmod it to 0600, or remove it for a new key", path, info.Mode().Perm())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(text)
	if block == nil || block.Type != pemType || len(rest) > 0 {
		return nil, fmt.Errorf("key file %s does not hold one PEM block %q", path, pemType)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	ed, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("key file %s holds a key of type %T, want Ed25519", path, key)
	}
	return ed, nil
}

func makeKey(path string) (err error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".key-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	if err := pem.Encode(f, &pem.Block{Type: pemType, Bytes: der}); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil { // unlike a rename, never replaces the key of another
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
