package auth

import (
	"crypto/sha256"
	"slices"
	"sync"
	"time"
)

// memory remembers verified tokens in two generations: when the young one is
// full it becomes the old one, and the old one is forgotten. What is in use
// moves over again, so the bound costs no bookkeeping a token.
//
// A token is remembered by its SHA-256: a weaker hash would let somebody look
// for a second token with the hash of a good one, and the token itself is a
// secret that need not stay in memory.
type memory struct {
	half  int // entries of a generation; 0: remembers nothing
	mu    sync.RWMutex
	young map[[sha256.Size]byte]remembered
	old   map[[sha256.Size]byte]remembered
}

type remembered struct {
	principal Principal
	until     time.Time
	by        *issuer // who vouches for it, with a key of the set keys
	keys      *KeySet
}

func newMemory(entries int) *memory {
	if entries < 0 {
		return &memory{}
	}
	return &memory{half: max(entries/2, 1), young: map[[sha256.Size]byte]remembered{}}
}

func tokenID(token string) [sha256.Size]byte {
	var onStack [1024]byte // the usual token needs no allocation
	return sha256.Sum256(append(onStack[:0], token...))
}

// get returns what is known of a token that was verified before and has not
// expired. The roles are the caller's own copy: a handler that changes them
// must not change those of the next request.
func (m *memory) get(id [sha256.Size]byte, now time.Time) (remembered, bool) {
	if m.half == 0 {
		return remembered{}, false
	}
	m.mu.RLock()
	r, ok := m.young[id]
	aged := false
	if !ok {
		r, aged = m.old[id]
	}
	m.mu.RUnlock()
	if (!ok && !aged) || !now.Before(r.until) {
		return remembered{}, false
	}
	if aged {
		m.put(id, r)
	}
	r.principal.Roles = slices.Clone(r.principal.Roles)
	return r, true
}

func (m *memory) put(id [sha256.Size]byte, r remembered) {
	if m.half == 0 {
		return
	}
	r.principal.Roles = slices.Clone(r.principal.Roles)
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.young) >= m.half {
		m.old, m.young = m.young, make(map[[sha256.Size]byte]remembered, m.half)
	}
	m.young[id] = r
}
