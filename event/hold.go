package event

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/argosy-go/argosy/internal/mutant"
	"github.com/argosy-go/argosy/store"
)

// hold is a lease of this replica: what is done under it is done by nobody
// else at the same time, and check fails in a transaction once that has ended.
type hold struct {
	runtime *runtime
	lease   store.Lease
}

// endOfTime is after the expiry of every lease.
var endOfTime = time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC)

// claim takes the lease of that name when it is free.
//
// A lease lasts as long as its holder is on the roster: so a replica renews one
// row and not as many as it has leases, and no transaction under a lease makes
// the renewal wait. A SQLite file is locked by the one process that has it
// open: a lease found in it belongs to a process that is gone.
func (r *runtime) claim(ctx context.Context, name string) (*hold, bool, error) {
	h := &hold{runtime: r}
	var free bool
	err := r.db.Do(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
		if free, err = r.vacant(ctx, tx, name); err != nil || !free {
			return err
		}
		h.lease, free, err = store.ClaimLease(ctx, tx, name, r.setup.Instance(), endOfTime, 0)
		return err
	})
	if err != nil {
		return nil, false, fmt.Errorf("claim the lease %s: %w", name, err)
	}
	return h, free, nil
}

// vacant reports whether no other replica that is alive holds the lease.
func (r *runtime) vacant(ctx context.Context, tx *store.Tx, name string) (bool, error) {
	if r.alone() {
		return true, nil
	}
	var n int
	err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM argosy_leases
		JOIN argosy_event_replicas ON argosy_event_replicas.instance = argosy_leases.holder
		WHERE argosy_leases.name = $1 AND argosy_leases.holder <> $2 AND argosy_event_replicas.expires > $3`,
		name, r.setup.Instance(), store.At(r.setup.Now())).Scan(&n)
	return n == 0, err
}

// check fails with store.ErrLeaseLost when somebody else has taken the lease.
// Nobody else can while this process has the only access to the store.
func (h *hold) check(ctx context.Context, tx *store.Tx) error {
	if mutant.NoFence || h.runtime.alone() {
		return nil
	}
	return h.lease.Check(ctx, tx)
}

// confirm is check on its own, before something that no transaction fences.
func (h *hold) confirm(ctx context.Context) error {
	if h.runtime.alone() {
		return nil
	}
	return h.runtime.db.Do(store.RowByRow(ctx), h.check)
}

// release gives the lease back, so that another replica need not wait.
func (h *hold) release(ctx context.Context) error {
	if h.runtime.alone() {
		return nil
	}
	err := h.runtime.db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		return h.lease.Release(ctx, tx)
	})
	if err != nil {
		return fmt.Errorf("give the lease %s back: %w", h.lease.Name, err)
	}
	h.runtime.db.Notify(replicasTopic)
	return nil
}

// lost reports whether err says that the lease is another's.
func lost(err error) bool { return errors.Is(err, store.ErrLeaseLost) }
