package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/argon2"
	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
)

// ReasonSignInBusy is the reason of the error that says that too many
// passwords are being verified already.
const ReasonSignInBusy = "SIGN_IN_BUSY"

// PasswordConfig configures [Passwords].
type PasswordConfig struct {
	// MemoryKiB and Passes are argon2id's cost, for new hashes. Zero: 19,456
	// and 2, the first choice of OWASP for one lane; some 30 ms.
	MemoryKiB uint32
	Passes    uint32
	// Concurrent is how many are hashed at once, each in its own memory. Zero:
	// half of GOMAXPROCS, at least one, so that sign-ins leave room for work.
	Concurrent int
	// Waiting is how many more may wait for their turn; others are refused at
	// once with RESOURCE_EXHAUSTED. Zero: 64.
	Waiting int
}

// Passwords hashes and verifies passwords with argon2id. However many people
// sign in at once, memory and processors that it takes are bounded. It is safe
// for concurrent use.
type Passwords struct {
	cost    cost
	running chan struct{}
	waiting atomic.Int64
	limit   int64
	nobody  hash // what an unknown user's password is compared with
}

// cost is what a hash takes.
type cost struct {
	memory, passes uint32
	lanes          uint8
}

// hash is a PHC string, taken apart.
type hash struct {
	cost
	salt, sum []byte
}

const (
	saltSize    = 16
	sumSize     = 32
	maxPassword = 1024 // bytes

	// Bounds on what a stored hash may ask for.
	maxMemory = 1 << 20 // KiB
	maxPasses = 64
	maxLanes  = 16
	maxHash   = 512 // characters
)

// NewPasswords returns a Passwords.
func NewPasswords(c PasswordConfig) *Passwords {
	if c.MemoryKiB == 0 {
		c.MemoryKiB = 19_456
	}
	if c.Passes == 0 {
		c.Passes = 2
	}
	if c.Concurrent <= 0 {
		c.Concurrent = max(runtime.GOMAXPROCS(0)/2, 1)
	}
	if c.Waiting <= 0 {
		c.Waiting = 64
	}
	k := cost{min(c.MemoryKiB, maxMemory), min(c.Passes, maxPasses), 1}
	return &Passwords{
		cost: k, running: make(chan struct{}, c.Concurrent), limit: int64(c.Concurrent + c.Waiting),
		nobody: hash{k, make([]byte, saltSize), make([]byte, sumSize)},
	}
}

// Hash returns the PHC string of a password, with a salt of its own. A
// password that is empty or over 1,024 bytes is an INVALID_ARGUMENT.
func (p *Passwords) Hash(ctx context.Context, password string) (string, error) {
	if password == "" || len(password) > maxPassword {
		return "", fault.Invalid("password", "must have 1 to %d bytes", maxPassword)
	}
	h := hash{cost: p.cost, salt: make([]byte, saltSize)}
	rand.Read(h.salt) // never fails
	sum, err := p.derive(ctx, password, h, sumSize)
	if err != nil {
		return "", err
	}
	h.sum = sum
	return h.String(), nil
}

// Verify reports whether the password has this hash. An empty hash stands for
// a user that does not exist: it takes as long and the answer is no, so that
// nobody learns who has an account. An error says that there is no answer: the
// hash is damaged, ctx ended, or too many are waiting.
func (p *Passwords) Verify(ctx context.Context, phc, password string) (bool, error) {
	h := p.nobody
	if phc != "" {
		var err error
		if h, err = parseHash(phc); err != nil {
			return false, err
		}
	}
	if len(password) > maxPassword {
		return false, nil // nobody has such a one: Hash refuses it
	}
	sum, err := p.derive(ctx, password, h, len(h.sum))
	if err != nil {
		return false, err
	}
	same := subtle.ConstantTimeCompare(sum, h.sum) == 1
	return same && phc != "", nil
}

// Outdated reports whether a hash was made at another cost than this, so that
// it should be made again at the next sign-in, when the password is at hand.
func (p *Passwords) Outdated(phc string) bool {
	h, err := parseHash(phc)
	return err != nil || h.cost != p.cost || len(h.sum) != sumSize
}

// derive runs argon2id in its turn.
func (p *Passwords) derive(ctx context.Context, password string, h hash, size int) ([]byte, error) {
	if p.waiting.Add(1) > p.limit {
		p.waiting.Add(-1)
		return nil, fault.New(codes.ResourceExhausted, ReasonSignInBusy, "too many people are signing in: try again soon").
			WithRetryAfter(time.Second).Refused()
	}
	defer p.waiting.Add(-1)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case p.running <- struct{}{}:
		defer func() { <-p.running }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return argon2.IDKey([]byte(password), h.salt, h.passes, h.memory, h.lanes, uint32(size)), nil
}

// String returns the hash in PHC form:
// $argon2id$v=19$m=19456,t=2,p=1$<salt>$<sum>.
func (h hash) String() string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.memory, h.passes, h.lanes,
		b64.EncodeToString(h.salt), b64.EncodeToString(h.sum))
}

var errHash = errors.New("auth: the stored password hash is damaged or of another kind than argon2id")

// parseHash reads a PHC string, and nothing but the form that [hash.String] writes.
func parseHash(phc string) (h hash, err error) {
	part := strings.Split(phc, "$")
	if len(phc) > maxHash || len(part) != 6 || part[0] != "" || part[1] != "argon2id" || part[2] != "v="+strconv.Itoa(argon2.Version) {
		return hash{}, errHash
	}
	costs := strings.Split(part[3], ",")
	if len(costs) != 3 {
		return hash{}, errHash
	}
	memory, ok1 := number(costs[0], "m=", maxMemory)
	passes, ok2 := number(costs[1], "t=", maxPasses)
	lanes, ok3 := number(costs[2], "p=", maxLanes)
	if !ok1 || !ok2 || !ok3 || memory < 8*lanes {
		return hash{}, errHash
	}
	h.cost = cost{memory, passes, uint8(lanes)}
	b64 := base64.RawStdEncoding.Strict()
	if h.salt, err = b64.DecodeString(part[4]); err != nil || len(h.salt) < 8 {
		return hash{}, errHash
	}
	if h.sum, err = b64.DecodeString(part[5]); err != nil || len(h.sum) < 16 {
		return hash{}, errHash
	}
	if h.String() != phc { // leading zeros, line breaks that base64 skips
		return hash{}, errHash
	}
	return h, nil
}

// number reads a positive number after its name.
func number(s, name string, limit uint64) (uint32, bool) {
	digits, ok := strings.CutPrefix(s, name)
	n, err := strconv.ParseUint(digits, 10, 32)
	return uint32(n), ok && err == nil && n > 0 && n <= limit
}
