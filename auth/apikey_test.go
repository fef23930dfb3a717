package auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAKeyIsReadAsItWasMade(t *testing.T) {
	form := regexp.MustCompile(`^ak_[a-z2-7]{16}_[a-z2-7]{59}$`)
	seen := map[string]bool{}
	for range 100 {
		key, id, hash := NewAPIKey()
		if !form.MatchString(key) || seen[key] || seen[id] {
			t.Fatalf("key %s, id %s", key, id)
		}
		seen[key], seen[id] = true, true
		gotID, gotHash, ok := ParseAPIKey(key)
		if !ok || gotID != id || gotHash != hash || hash != sha256.Sum256([]byte(key)) {
			t.Fatalf("%s: got %s %x %v, want %s %x", key, gotID, gotHash, ok, id, hash)
		}
	}
}

func TestWhatIsNoKeyIsRefusedWithoutAsking(t *testing.T) {
	key, _, _ := NewAPIKey()
	mistyped := map[string]string{
		"empty": "", "the prefix": "ak_", "one character short": key[:len(key)-1], "one more": key + "a",
		"another prefix": "sk_" + key[3:], "in capitals": strings.ToUpper(key), "a space": " " + key[:len(key)-1],
		"no second underscore": key[:19] + "a" + key[20:], "a digit that is none": key[:30] + "0" + key[31:],
	}
	for i := range key { // every typo of one character, and every swap of two neighbours
		other := byte('a')
		if key[i] == other {
			other = 'b'
		}
		mistyped["typo at "+key[:i]] = key[:i] + string(other) + key[i+1:]
		if i > 0 && key[i] != key[i-1] {
			mistyped["swap at "+key[:i]] = key[:i-1] + string(key[i]) + string(key[i-1]) + key[i+1:]
		}
	}
	asked := &keeper{err: errors.New("asked")}
	a := NewAPIKeys(APIKeyConfig{Keeper: asked})
	for name, given := range mistyped {
		if _, _, ok := ParseAPIKey(given); ok {
			t.Errorf("%s: %q is taken", name, given)
		}
		if _, err := a.Authenticate(t.Context(), given); !errors.Is(err, ErrAPIKey) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if n := asked.calls.Load(); n > 0 {
		t.Errorf("the keeper was asked %d times", n)
	}
}

// keeper holds one answer.
type keeper struct {
	calls  atomic.Int64
	holder APIKeyHolder
	err    error
}

func (k *keeper) CheckAPIKey(context.Context, string, APIKeyHash) (APIKeyHolder, error) {
	k.calls.Add(1)
	return k.holder, k.err
}

func TestAKeyThatIsRevokedEndsWithinTheTimeOfMemory(t *testing.T) {
	c := newClock()
	kept := &keeper{holder: APIKeyHolder{Subject: "u1", Roles: []string{"customer"}}}
	a := NewAPIKeys(APIKeyConfig{Keeper: kept, Now: c.Now})
	key, id, _ := NewAPIKey()
	for range 3 {
		p, err := a.Authenticate(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(Principal{Subject: "u1", Roles: []string{"customer"}, Key: id}, p); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
		p.Roles[0] = "admin" // by a handler
	}
	if n := kept.calls.Load(); n != 1 {
		t.Errorf("the keeper was asked %d times", n)
	}
	kept.err = ErrAPIKey
	c.advance(30*time.Second - 1)
	mustBe(t, a, key, "", "just before")
	c.advance(1)
	mustBe(t, a, key, ReasonKeyInvalid, "after half a minute")
}

func TestAKeyEndsThoughItIsRemembered(t *testing.T) {
	c := newClock()
	a := NewAPIKeys(APIKeyConfig{Keeper: &keeper{holder: APIKeyHolder{Subject: "u1", Expires: c.Now().Add(time.Second)}}, Now: c.Now})
	key, _, _ := NewAPIKey()
	mustBe(t, a, key, "", "before it ends")
	c.advance(time.Second)
	if r, ok := a.known.get(tokenID(key), c.Now()); ok {
		t.Errorf("it is remembered past its end: %+v", r)
	}
}

func TestWhileTheKeeperIsAwayNobodyCanSay(t *testing.T) {
	c := newClock()
	kept := &keeper{holder: APIKeyHolder{Subject: "u1"}}
	a := NewAPIKeys(APIKeyConfig{Keeper: kept, Now: c.Now})
	key, _, _ := NewAPIKey()
	mustBe(t, a, key, "", "before")
	kept.err = errors.New("no such host")
	mustBe(t, a, key, "", "while it is remembered")
	c.advance(30 * time.Second)
	mustBe(t, a, key, ReasonKeysUnavailable, "afterwards")
	kept.err = nil
	mustBe(t, a, key, "", "when the keeper is back")
}

func TestAKeyCannotMakeAService(t *testing.T) {
	key, _, _ := NewAPIKey()
	for name, h := range map[string]APIKeyHolder{
		"the role": {Subject: "u1", Roles: []string{RoleService}},
		"nobody":   {},
	} {
		mustBe(t, NewAPIKeys(APIKeyConfig{Keeper: &keeper{holder: h}}), key, ReasonKeyInvalid, name)
	}
}

func TestAPIKeysAndTokensAreToldApart(t *testing.T) {
	c := newClock()
	s := newTestSigner(t, c)
	key, _, _ := NewAPIKey()
	token := sign(t, s, Principal{Subject: "u1"}, time.Hour)
	with := Callers{Tokens: s.Authenticator(), APIKeys: NewAPIKeys(APIKeyConfig{Keeper: &keeper{holder: APIKeyHolder{Subject: "m1"}}})}
	mustBe(t, with, token, "", "a token")
	mustBe(t, with, key, "", "a key")
	without := Callers{Tokens: s.Authenticator()}
	mustBe(t, without, token, "", "a token where no keys are taken")
	mustBe(t, without, key, ReasonKeyInvalid, "a key where no keys are taken")
}

func TestTheCredentialIsOne(t *testing.T) {
	key, _, _ := NewAPIKey()
	for name, c := range map[string]struct {
		authorization, apiKey []string
		want                  string
		bad                   bool
	}{
		"nothing":                    {},
		"a token":                    {authorization: []string{"Bearer abc"}, want: "abc"},
		"a key as a token":           {authorization: []string{"Bearer " + key}, want: key},
		"a key":                      {apiKey: []string{key}, want: key},
		"a token as a key":           {apiKey: []string{"abc"}, bad: true},
		"an empty key":               {apiKey: []string{""}, bad: true},
		"two keys":                   {apiKey: []string{key, key}, bad: true},
		"both":                       {authorization: []string{"Bearer " + key}, apiKey: []string{key}, bad: true},
		"a key beside a bad scheme":  {authorization: []string{"Basic x"}, apiKey: []string{key}, bad: true},
		"a scheme in front of a key": {apiKey: []string{"Bearer " + key}, bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Credential(c.authorization, c.apiKey)
			if got != c.want || c.bad != errors.Is(err, ErrAuthorization) || c.bad != (err != nil) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func FuzzParseAPIKey(f *testing.F) {
	key, _, _ := NewAPIKey()
	for _, seed := range []string{key, "", "ak_", key[:40], strings.Repeat("a", apiKeyLength), "ak_" + strings.Repeat("_", apiKeyLength-3)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id, hash, ok := ParseAPIKey(text)
		if ok && (len(text) != apiKeyLength || text[3:19] != id || hash != sha256.Sum256([]byte(text)) || apiKeySum(text[:apiKeyLength-7]) != text[apiKeyLength-7:]) {
			t.Errorf("%q: id %q", text, id)
		}
	})
}

func BenchmarkAPIKey(b *testing.B) {
	key, _, _ := NewAPIKey()
	a := NewAPIKeys(APIKeyConfig{Keeper: &keeper{holder: APIKeyHolder{Subject: "u1", Roles: []string{"customer"}}}})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Authenticate(b.Context(), key); err != nil {
			b.Fatal(err)
		}
	}
}
