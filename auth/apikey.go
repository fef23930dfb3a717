package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"hash/crc32"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
)

// An API key is ak_<id>_<secret><sum>: 16, 52 and 7 characters of a-z2-7, which
// are 80 random bits that name it, 256 that prove it, and the CRC-32 of all
// that comes before. The expression
//
//	ak_[a-z2-7]{16}_[a-z2-7]{59}
//
// finds keys where none should be, the sum tells them from what only looks so,
// and a typo is refused without asking anybody.
const (
	apiKeyPrefix = "ak_"
	apiKeyID     = 16
	apiKeyLength = len(apiKeyPrefix) + apiKeyID + 1 + 52 + 7
)

// ReasonKeyInvalid: the API key is not one that the fleet gave out, or no
// longer holds.
const ReasonKeyInvalid = "API_KEY_INVALID"

// ErrAPIKey: the API key is unknown, mistyped, revoked or expired.
var ErrAPIKey = fault.New(codes.Unauthenticated, ReasonKeyInvalid, "the API key is not valid").Refused()

var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// APIKeyHash is what is kept of a key: its SHA-256. A slow, salted hash, as
// passwords need one, would add nothing: nobody guesses 256 random bits, no two
// keys are alike, and each call would pay for it.
type APIKeyHash [sha256.Size]byte

// NewAPIKey returns a new key, to be shown once, with its id and hash, to be kept.
func NewAPIKey() (key, id string, hash APIKeyHash) {
	var random [10 + 32]byte
	_, _ = rand.Read(random[:]) // never fails
	id = base32Lower.EncodeToString(random[:10])
	key = apiKeyPrefix + id + "_" + base32Lower.EncodeToString(random[10:])
	key += apiKeySum(key)
	return key, id, APIKeyHash(tokenID(key))
}

// apiKeySum returns the sum of what comes before it in a key.
func apiKeySum(front string) string {
	return base32Lower.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(front))))
}

// IsAPIKey reports whether a bearer token is meant to be an API key.
func IsAPIKey(token string) bool { return strings.HasPrefix(token, apiKeyPrefix) }

// ParseAPIKey returns the id and the hash of a key. ok is false for what cannot
// be a key.
func ParseAPIKey(key string) (id string, hash APIKeyHash, ok bool) {
	if len(key) != apiKeyLength || !IsAPIKey(key) {
		return "", hash, false
	}
	front, sum := key[:apiKeyLength-7], key[apiKeyLength-7:]
	id, secret := front[len(apiKeyPrefix):len(apiKeyPrefix)+apiKeyID], front[len(apiKeyPrefix)+apiKeyID+1:]
	if front[len(apiKeyPrefix)+apiKeyID] != '_' || !isBase32(id) || !isBase32(secret) || apiKeySum(front) != sum {
		return "", hash, false
	}
	return id, APIKeyHash(tokenID(key)), true
}

func isBase32(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}

// APIKeyHolder is who holds an API key.
type APIKeyHolder struct {
	Subject string
	Roles   []string
	// Expires is when the key ends. Zero: it does not.
	Expires time.Time
}

// APIKeyKeeper keeps API keys: package apikey does it in a service's database.
type APIKeyKeeper interface {
	// CheckAPIKey returns who holds the key with that id and hash. It compares
	// the hashes in constant time, and returns [ErrAPIKey] for a key that is
	// unknown, another one, revoked or expired. Safe for concurrent use.
	CheckAPIKey(ctx context.Context, id string, hash APIKeyHash) (APIKeyHolder, error)
}

// APIKeyConfig configures [APIKeys].
type APIKeyConfig struct {
	// Keeper keeps the keys. Required.
	Keeper APIKeyKeeper
	// Remember is how long a holder is remembered, so that the keeper is not
	// asked at every call. A key that is revoked is refused after this time.
	// Zero: 30 s; negative: none.
	Remember time.Duration
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
}

// APIKeys is the [Authenticator] of machines that call with an API key. It is
// safe for concurrent use.
type APIKeys struct {
	c     APIKeyConfig
	known *memory
}

// NewAPIKeys returns an APIKeys.
func NewAPIKeys(c APIKeyConfig) *APIKeys {
	if c.Remember == 0 {
		c.Remember = 30 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	entries := 10_000
	if c.Remember < 0 {
		entries = -1
	}
	return &APIKeys{c: c, known: newMemory(entries)}
}

// Authenticate implements [Authenticator]. While the keeper cannot answer, its
// keys are UNAVAILABLE: nobody is let in on what was true once.
func (a *APIKeys) Authenticate(ctx context.Context, bearer string) (Principal, error) {
	if len(bearer) != apiKeyLength {
		return Principal{}, ErrAPIKey
	}
	now := a.c.Now()
	if r, ok := a.known.get(tokenID(bearer), now); ok { // which was read when it was checked
		return r.principal, nil
	}
	id, hash, ok := ParseAPIKey(bearer)
	if !ok {
		return Principal{}, ErrAPIKey
	}
	holder, err := a.c.Keeper.CheckAPIKey(ctx, id, hash)
	if err != nil {
		if fault.From(err).Reason == ReasonKeyInvalid {
			return Principal{}, ErrAPIKey
		}
		return Principal{}, fault.New(codes.Unavailable, ReasonKeysUnavailable, "the API key cannot be checked now").
			WithRetryAfter(time.Second).Wrap(err).Refused() // whatever the keeper said: it is not about the key
	}
	until := now.Add(a.c.Remember) // of before the question: the answer may be as old as that
	if !holder.Expires.IsZero() && holder.Expires.Before(until) {
		until = holder.Expires
	}
	p, err := holder.principal(id)
	if err != nil {
		return Principal{}, err
	}
	a.known.put(hash, remembered{principal: p, until: until})
	return p, nil
}

// principal returns who calls with the key. A key never makes a service of the
// fleet, whatever is kept.
func (h APIKeyHolder) principal(id string) (Principal, error) {
	p := Principal{Subject: h.Subject, Roles: h.Roles, Key: id}
	if p.Subject == "" || p.Has(RoleService) {
		return Principal{}, ErrAPIKey
	}
	return p, nil
}

// Callers is the [Authenticator] of all who call from outside: an API key is
// for APIKeys, and everything else for Tokens.
type Callers struct {
	Tokens Authenticator
	// APIKeys may be nil: then no API key is taken.
	APIKeys Authenticator
}

// Authenticate implements [Authenticator].
func (c Callers) Authenticate(ctx context.Context, bearer string) (Principal, error) {
	if !IsAPIKey(bearer) {
		return c.Tokens.Authenticate(ctx, bearer)
	}
	if c.APIKeys == nil {
		return Principal{}, ErrAPIKey
	}
	return c.APIKeys.Authenticate(ctx, bearer)
}
