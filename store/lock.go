package store

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// lockSlots is how many locks the keys of a class share. Two keys that share
// one only wait for each other.
const lockSlots = 1024

// LockKeys makes transactions that name the same key of the same class commit
// one after the other: from the call to the end of its transaction, nobody
// else gets past it. So rows inserted after it get their sequence numbers in
// the order in which their transactions commit, key by key, although a
// sequence hands out numbers in the order of the inserts. Call it last in a
// transaction, once for each class: the locks are taken in a fixed order, and
// only within one call.
//
// A store that runs one transaction at a time does nothing.
func LockKeys(ctx context.Context, tx *Tx, class string, keys ...string) error {
	if tx.dialect != Postgres || len(keys) == 0 {
		return nil
	}
	// Advisory locks belong to the whole database, which services may share.
	space := int32(uint32(xxhash.Sum64String(tx.db.service + "/" + class)))
	slots := make([]int32, len(keys))
	for i, k := range keys {
		slots[i] = int32(xxhash.Sum64String(k) % lockSlots)
	}
	slices.Sort(slots)
	slots = slices.Compact(slots)
	args := make([]any, 1, 1+len(slots))
	args[0] = space
	var b strings.Builder
	b.WriteString("SELECT pg_advisory_xact_lock($1, slot) FROM (VALUES ")
	for i, s := range slots {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "($%d::integer)", i+2)
		args = append(args, s)
	}
	b.WriteString(") AS slots (slot)") // VALUES are read in the order in which they are written
	if _, err := tx.ExecContext(ctx, b.String(), args...); err != nil {
		return fmt.Errorf("lock keys of %s: %w", class, err)
	}
	return nil
}
