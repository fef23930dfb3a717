package storetest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
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
	{"a claim sees everything that was written under the lease before it", checkClaimWaits},
	{"a transaction that began before a claim cannot commit under the old epoch", checkStaleHolder},
	{"transactions under one lease do not wait for each other", checkShared},
}

// checkClaimWaits has a claim come between the check of a holder and its commit.
func checkClaimWaits(t *testing.T, f *fixture) {
	db, now := f.open(t), time.Now()
	a, _ := claim(t, db, "a", now)
	claimed := make(chan error, 1)
	var seen int
	next := func() {
		claimed <- db.Do(context.Background(), func(ctx context.Context, tx *store.Tx) error {
			_, ok, err := store.ClaimLease(ctx, tx, "work", "b", now.Add(2*ttl), ttl)
			if err == nil && !ok {
				err = errors.New("the lease has expired, and was not to be had")
			}
			if err != nil {
				return err
			}
			return tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM item").Scan(&seen)
		})
	}
	var once sync.Once
	must(t, use(t, db, func(ctx context.Context, tx *store.Tx) error {
		if err := a.Check(ctx, tx); err != nil {
			return err
		}
		once.Do(func() { go next() })
		select { // long enough for a claim that does not wait
		case err := <-claimed:
			claimed <- err
		case <-time.After(idleLimit):
		}
		return insert(1)(ctx, tx)
	}), "who has checked a lease commits, also when somebody else claims it meanwhile")
	must(t, <-claimed, "an expired lease can be claimed")
	if seen != 1 {
		t.Error("a claim waits for the transactions that have called Check: this one went past one, which then wrote under a lease that was another's")
	}
}

// checkStaleHolder claims the lease of somebody who is in a transaction.
func checkStaleHolder(t *testing.T, f *fixture) {
	db, now := f.open(t), time.Now()
	a, _ := claim(t, db, "a", now)
	var once sync.Once
	steal := func() { claim(t, db, "b", now.Add(2*ttl)) }
	if !f.target.Parallel {
		once.Do(steal)
	}
	err := use(t, db, func(ctx context.Context, tx *store.Tx) error {
		var n int
		if err := tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM item").Scan(&n); err != nil { // it has a snapshot now
			return err
		}
		once.Do(steal)
		if err := insert(1)(ctx, tx); err != nil {
			return err
		}
		return a.Check(ctx, tx)
	})
	if !errors.Is(err, store.ErrLeaseLost) {
		t.Errorf("Check looks at the lease as it is now, and not as it was when the transaction began: got %v, want ErrLeaseLost", err)
	}
	wantIDs(t, db, "what a stale holder wrote must not be there")
}

// checkShared has many transactions in the middle of their work under one
// lease, and the lease renewed.
func checkShared(t *testing.T, f *fixture) {
	db, now := f.open(t), time.Now()
	a, _ := claim(t, db, "a", now)
	const workers = 16
	var checked, wg sync.WaitGroup
	checked.Add(workers)
	renewed := make(chan struct{})
	var runs atomic.Int64
	for i := range workers {
		wg.Go(func() {
			once := sync.OnceFunc(checked.Done)
			err := db.Do(context.Background(), func(ctx context.Context, tx *store.Tx) error {
				runs.Add(1)
				if err := a.Check(ctx, tx); err != nil {
					return err
				}
				once()
				if f.target.Parallel {
					checked.Wait()
					<-renewed
				}
				return insert(i)(ctx, tx)
			})
			if err != nil {
				t.Errorf("a transaction under a lease that is held commits: got %v", err)
			}
		})
	}
	checked.Wait()
	for _, verb := range []string{"renewed", "claimed again"} {
		err := use(t, db, func(ctx context.Context, tx *store.Tx) error {
			if verb == "renewed" {
				return a.Renew(ctx, tx, now, ttl)
			}
			_, _, err := store.ClaimLease(ctx, tx, "work", "a", now, ttl)
			return err
		})
		if err != nil {
			t.Errorf("a lease is %s while transactions run under it: got %v", verb, err)
		}
	}
	close(renewed)
	wg.Wait()
	if n := runs.Load(); n != workers {
		t.Errorf("%d transactions under one lease ran %d times: Check, and the holder's own Renew, must not put them into conflict", workers, n)
	}
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
