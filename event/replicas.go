package event

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/argosy-go/argosy/store"
)

// lookGap is how often a replica looks who else is there: a newcomer has its
// share after about as long.
const lookGap = time.Second

// replicasTopic is notified of when a replica comes or goes, and when work is free.
const replicasTopic = "argosy/replicas"

// span is a range of partitions that is worked on as one.
type span struct{ first, last int }

// spans returns how the partitions are divided: into single ones where several
// replicas may share them, and not at all where the store belongs to one process.
func (r *runtime) spans() []span {
	if r.alone() {
		return []span{{0, partitions - 1}}
	}
	all := make([]span, partitions)
	for i := range all {
		all[i] = span{i, i}
	}
	return all
}

// alone reports whether the store itself keeps other processes away.
func (r *runtime) alone() bool { return r.db.Dialect() == store.SQLite }

// roster knows which replicas of the service are at work, and so what is this
// one's share. All that see the same replicas come to the same shares, without
// asking each other; while they see different ones, leases keep them apart.
type roster struct {
	*runtime

	mu      sync.Mutex
	live    []string      // sorted
	changed chan struct{} // closed when live changes
}

func newRoster(r *runtime) *roster { return &roster{runtime: r, changed: make(chan struct{})} }

// run keeps this replica on the roster until ctx ends. When it cannot report
// for two thirds of LeaseTTL it ends its work, before others begin with it: a
// broker goes on delivering to whoever has lost the store only.
func (o *roster) run(ctx context.Context) error {
	if o.alone() {
		<-ctx.Done()
		return nil
	}
	bell := make(chan struct{}, 1)
	defer o.db.Listen(replicasTopic, func() { stir(bell) })()
	ttl := o.settings.LeaseTTL
	overdue := time.AfterFunc(ttl*2/3, func() { o.set(nil) })
	defer overdue.Stop()
	var reported time.Time
	failures := 0
	for ctx.Err() == nil {
		now := o.setup.Now()
		err := o.turn(ctx, now.Sub(reported) >= ttl/3, func() {
			reported = now
			overdue.Reset(ttl * 2 / 3)
		})
		gap := min(lookGap, ttl/6)
		if err == nil {
			failures = 0
			nap(ctx, bell, gap/2+rand.N(gap))
			continue
		}
		if failures++; failures == 1 && ctx.Err() == nil {
			o.setup.Log().Warn("the other replicas cannot be reached through the store", "error", err)
		}
		pause(ctx, backoff{gap / 4, gap}.after(failures))
	}
	return nil
}

// turn reports, when that is due, and looks who is there.
func (o *roster) turn(ctx context.Context, due bool, reported func()) error {
	ctx, cancel := context.WithTimeout(ctx, o.settings.LeaseTTL/3)
	defer cancel()
	if due {
		if err := o.report(ctx); err != nil {
			return err
		}
		reported()
	}
	return o.look(ctx)
}

// unlessDone returns nil for an error that is only the end of ctx.
func unlessDone(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// report says that this replica is at work.
func (o *roster) report(ctx context.Context) error {
	until := o.setup.Now().Add(o.settings.LeaseTTL)
	err := o.db.Do(store.RowByRow(ctx), func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO argosy_event_replicas (instance, expires) VALUES ($1, $2)
			ON CONFLICT (instance) DO UPDATE SET expires = excluded.expires`, o.setup.Instance(), store.At(until))
		return err
	})
	if err != nil {
		return fmt.Errorf("report to the other replicas: %w", err)
	}
	return nil
}

// leave says that this replica has ended its work, so that nobody waits for it.
func (o *roster) leave(ctx context.Context) error {
	if o.alone() {
		return nil
	}
	err := o.db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM argosy_event_replicas WHERE instance = $1", o.setup.Instance())
		return err
	})
	if err != nil {
		return fmt.Errorf("take leave of the other replicas: %w", err)
	}
	o.db.Notify(replicasTopic)
	return nil
}

// look reads which replicas are at work.
func (o *roster) look(ctx context.Context) error {
	var live []string
	err := o.db.Read(ctx, func(ctx context.Context, q store.Querier) error {
		live = nil
		rows, err := q.QueryContext(ctx, "SELECT instance FROM argosy_event_replicas WHERE expires > $1", store.At(o.setup.Now()))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var name string
			if err := rows.Scan(&name); err != nil {
				return err
			}
			live = append(live, name)
		}
		return rows.Err()
	})
	if err != nil {
		return fmt.Errorf("look for the other replicas: %w", err)
	}
	slices.Sort(live)
	o.set(live)
	return nil
}

// set says which replicas are at work.
func (o *roster) set(live []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !slices.Equal(live, o.live) {
		o.live = live
		close(o.changed)
		o.changed = make(chan struct{})
	}
}

// mine reports whether the span is this replica's share of a group of work, and
// returns what is closed when that may have changed. The replicas take the
// spans of a group in turn, and begin at another one in each group.
func (o *roster) mine(group string, s span) (bool, <-chan struct{}) {
	if o.alone() {
		return true, nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.live) == 0 {
		return false, o.changed
	}
	n := uint64(len(o.live))
	turn := (xxhash.Sum64String(group)%n + uint64(s.first)) % n
	return o.live[turn] == o.setup.Instance(), o.changed
}

// await waits until the span is this replica's; it reports false when ctx ends.
func (o *roster) await(ctx context.Context, group string, s span) bool {
	for ctx.Err() == nil {
		mine, changed := o.mine(group, s)
		if mine {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	return false
}

// while returns a context that ends when the span becomes another replica's.
func (o *roster) while(ctx context.Context, group string, s span) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	if o.alone() {
		return ctx, cancel
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer cancel()
		for ctx.Err() == nil {
			mine, changed := o.mine(group, s)
			if !mine {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
	}()
	return ctx, func() {
		cancel()
		<-done
	}
}

// work does what do does for a span whenever it is this replica's share and
// nobody else does it, until ctx ends. The context of do ends when the span
// becomes another's: it then comes to an end and returns. Failures of the
// store are waited out.
func (o *roster) work(ctx context.Context, group string, s span, do func(ctx context.Context, h *hold) error) error {
	bell := make(chan struct{}, 1)
	defer o.db.Listen(replicasTopic, func() { stir(bell) })()
	failures := 0
	for o.await(ctx, group, s) {
		h, free, err := o.claim(ctx, leaseName(group, s))
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			if failures++; failures == 1 {
				o.setup.Log().Warn("work on events waits for the store", "work", group, "error", err)
			}
			pause(ctx, backoff{fetchLeast, fetchMost}.after(failures))
			continue
		case !free: // whoever has it gives it back when it has seen this replica, or is gone
			gap := min(lookGap, o.settings.LeaseTTL/6)
			nap(ctx, bell, gap/2+rand.N(gap))
			continue
		}
		failures = 0
		if err := o.under(ctx, group, s, h, do); err != nil {
			return err
		}
	}
	return nil
}

// under does the work under a lease, and gives the lease back.
func (o *roster) under(ctx context.Context, group string, s span, h *hold, do func(ctx context.Context, h *hold) error) error {
	share, end := o.while(ctx, group, s)
	err := do(share, h)
	end()
	if lost(err) {
		o.setup.Log().Warn("another replica has taken over work on events", "work", group, "partition", s.first)
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchMost)
	defer cancel()
	if rerr := h.release(ctx); err == nil {
		err = rerr
	}
	return err
}

func leaseName(group string, s span) string {
	if s.last > s.first {
		return group
	}
	return fmt.Sprintf("%s/%d", group, s.first)
}

// nap waits for d, a token, or the end of ctx.
func nap(ctx context.Context, bell <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-bell:
	}
}

// stir leaves a token.
func stir(bell chan<- struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}
