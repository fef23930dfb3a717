package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestTheKeyOutlivesTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "auth", "signer.key")
	first, err := OpenSigner(path)
	if err != nil {
		t.Fatal(err)
	}
	token := sign(t, first, Principal{Subject: "u1"}, time.Hour)
	second, err := OpenSigner(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.Authenticator().Authenticate(t.Context(), token); err != nil {
		t.Errorf("after a restart the token is refused: %v", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the key file has mode %v", info.Mode())
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestProcessesThatStartTogetherAgreeOnOneKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "signer.key")
	ids := make([]string, 16)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			s, err := OpenSigner(path)
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = s.keyID
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("keys %v", ids)
		}
	}
}

func TestKeyFilesThatAreRefused(t *testing.T) {
	good := func(t *testing.T) []byte {
		path := filepath.Join(t.TempDir(), "k")
		if _, err := OpenSigner(path); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(p256)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		text []byte
		mode os.FileMode
		want string
	}{
		"one that others may read":  {good(t), 0o644, "mode 0644"},
		"one that a group may read": {good(t), 0o640, "mode 0640"},
		"an empty one":              {nil, 0o600, "PEM"},
		"half a one":                {good(t)[:40], 0o600, "PEM"},
		"two in one":                {append(good(t), good(t)...), 0o600, "one PEM block"},
		"a key of another kind":     {pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), 0o600, "want Ed25519"},
		"no key":                    {pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: []byte("x")}), 0o600, "asn1"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "signer.key")
			if err := os.WriteFile(path, c.text, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}
			if _, err := OpenSigner(path); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			if text, err := os.ReadFile(path); err != nil || string(text) != string(c.text) {
				t.Error("a refused file must be left as it is")
			}
		})
	}
}

func TestTheKeySetIsServedAsJWKS(t *testing.T) {
	s := newTestSigner(t, newClock())
	w := httptest.NewRecorder()
	s.Keys().Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	var doc struct {
		Keys []map[string]string `json:"keys"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || len(doc.Keys) != 1 {
		t.Fatalf("%v: %s", err, w.Body)
	}
	k := doc.Keys[0]
	public := newTestKey('a').Public().(ed25519.PublicKey)
	if k["kty"] != "OKP" || k["crv"] != "Ed25519" || k["x"] != base64.RawURLEncoding.EncodeToString(public) || k["kid"] != s.keyID {
		t.Errorf("got %v", k)
	}
	if _, ok := k["d"]; ok || strings.Contains(w.Body.String(), base64.RawURLEncoding.EncodeToString(newTestKey('a').Seed())) {
		t.Error("the private key is served")
	}
	w = httptest.NewRecorder()
	s.Keys().Handler().ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
}

// The example of RFC 8037, appendix A.3.
func TestTheKeyIDIsTheThumbprintOfTheKey(t *testing.T) {
	public, err := base64.RawURLEncoding.DecodeString("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := keyID(public), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
