package event

import (
	"context"
	"fmt"
	"time"

	"github.com/argosy-go/argosy/store"
)

// hold is a lease of this process: what is done under it is done by nobody
// else at the same time, and check fails in a transaction once that has ended.
type hold struct {
	runtime *runtime
	lease   store.Lease
	renewed time.Time
}

// claim takes the lease of that name when it is free.
//
// A SQLite file is locked by the one process that has it open, so a lease
// found in it belongs to a process that is gone: it is taken over at once and
// needs no renewals. Idle consumers cost no writes there.
func (r *runtime) claim(ctx context.Context, name string) (*hold, bool, error) {
	now, ttl := r.setup.Now(), r.settings.LeaseTTL
	if r.alone() {
		now, ttl = endOfTime, 0
	}
	h := &hold{runtime: r, renewed: r.setup.Now()}
	var free bool
	err := r.db.Do(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
		h.lease, free, err = store.ClaimLease(ctx, tx, name, r.setup.Instance(), now, ttl)
		return err
	})
	if err != nil {
		return nil, false, fmt.Errorf("claim the lease %s: %w", name, err)
	}
	return h, free, nil
}

// endOfTime is after the expiry of every lease.
var endOfTime = time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC)

// alone reports whether the store itself keeps other processes away.
func (r *runtime) alone() bool { return r.db.Dialect() == store.SQLite }

// keep renews the lease when a third of its life is over.
func (h *hold) keep(ctx context.Context) error {
	now := h.runtime.setup.Now()
	if h.runtime.alone() || now.Sub(h.renewed) < h.runtime.settings.LeaseTTL/3 {
		return nil
	}
	err := h.runtime.db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		return h.lease.Renew(ctx, tx, now, h.runtime.settings.LeaseTTL)
	})
	if err != nil {
		return fmt.Errorf("renew the lease %s: %w", h.lease.Name, err)
	}
	h.renewed = now
	return nil
}

// check fails with store.ErrLeaseLost when somebody else has taken the lease.
// Nobody else can while this process has the only access to the store.
func (h *hold) check(ctx context.Context, tx *store.Tx) error {
	if h.runtime.alone() {
		return nil
	}
	return h.lease.Check(ctx, tx)
}

// release gives the lease back, so that another process need not wait.
func (h *hold) release(ctx context.Context) error {
	if h.runtime.alone() {
		return nil
	}
	return h.runtime.db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		return h.lease.Release(ctx, tx)
	})
}
