package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/argosy-go/argosy/store"
)

// leaseRules: leases and their epochs.
var leaseRules = []rule{
	{"a lease has one holder until it expires, and each new holder a higher epoch", func(t *testing.T, f *fixture) {
		db, now := f.open(t), time.Now()
		a, ok := claim(t, db, "a", now)
		if !ok || a.Epoch != 1 {
			t.Fatalf("a free lease is claimed: got %v %v", a, ok)
		}
		if _, ok := claim(t, db, "b", now.Add(ttl-1*time.Microsecond)); ok {
			t.Error("a lease that has not expired is nobody else's")
		}
		if again, ok := claim(t, db, "a", now); !ok || again != a {
			t.Errorf("its holder may claim a lease again, under the same epoch: got %v %v", again, ok)
		}
		b, ok := claim(t, db, "b", now.Add(ttl))
		if !ok || b.Epoch <= a.Epoch {
			t.Errorf("an expired lease goes to another holder with a higher epoch: got %v %v", b, ok)
		}
		if err := use(t, db, a.Check); !errors.Is(err, store.ErrLeaseLost) {
			t.Errorf("Check of a lost lease is ErrLeaseLost: got %v", err)
		}
		if err := use(t, db, func(ctx context.Context, tx *store.Tx) error { return a.Renew(ctx, tx, now, ttl) }); !errors.Is(err, store.ErrLeaseLost) {
			t.Errorf("Renew of a lost lease is ErrLeaseLost: got %v", err)
		}
		must(t, use(t, db, b.Check), "Check of a lease that is held succeeds")
	}},
	{"a released lease is free at once and remembers its epoch", func(t *testing.T, f *fixture) {
		db, now := f.open(t), time.Now()
		a, _ := claim(t, db, "a", now)
		must(t, use(t, db, a.Release), "Release succeeds")
		if err := use(t, db, a.Check); !errors.Is(err, store.ErrLeaseLost) {
			t.Errorf("Check of a released lease is ErrLeaseLost: got %v", err)
		}
		b, ok := claim(t, db, "b", now)
		if !ok || b.Epoch <= a.Epoch {
			t.Errorf("a released lease is free, with a higher epoch: got %v %v", b, ok)
		}
		must(t, use(t, db, a.Release), "Release of a lost lease does nothing")
		must(t, use(t, db, b.Check), "Release of a lost lease leaves the holder's alone")
	}},
	{"a renewed lease lasts longer", func(t *testing.T, f *fixture) {
		db, now := f.open(t), time.Now()
		a, _ := claim(t, db, "a", now)
		must(t, use(t, db, func(ctx context.Context, tx *store.Tx) error { return a.Renew(ctx, tx, now.Add(ttl), ttl) }), "a late Renew succeeds when nobody claimed")
		if _, ok := claim(t, db, "b", now.Add(ttl)); ok {
			t.Error("a renewed lease is nobody else's")
		}
	}},
}

const ttl = 10 * time.Second

func claim(t *testing.T, db *store.DB, holder string, now time.Time) (l store.Lease, ok bool) {
	t.Helper()
	must(t, use(t, db, func(ctx context.Context, tx *store.Tx) (err error) {
		l, ok, err = store.ClaimLease(ctx, tx, "work", holder, now, ttl)
		return err
	}), "a claim is answered")
	return l, ok
}

func use(t *testing.T, db *store.DB, fn func(context.Context, *store.Tx) error) error {
	t.Helper()
	return db.Do(t.Context(), fn)
}
