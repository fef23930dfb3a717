package etcd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/argosy-go/argosy/discovery"
)

// lease is a registration that is kept.
type lease struct {
	e       *etcd
	r       discovery.Registration
	stop    context.CancelFunc
	keeping sync.WaitGroup

	mu sync.Mutex
	id clientv3.LeaseID
}

// Register implements [discovery.Registrar]. The time to live is rounded up to
// whole seconds, and to what the server grants at least.
func (e *etcd) Register(ctx context.Context, r discovery.Registration) (discovery.Lease, error) {
	if err := r.Check(); err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	l := &lease{e: e, r: r}
	if err := l.put(ctx); err != nil {
		return nil, fmt.Errorf("etcd: register %s at %s: %w", r.Service, r.Addr, err)
	}
	keep, stop := context.WithCancel(context.Background())
	l.stop = stop
	l.keeping.Go(func() { l.keep(keep) })
	return l, nil
}

// put grants a lease and puts the key under it. A key that could not be put
// leaves a lease behind that ends by itself.
func (l *lease) put(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.e.timeout)
	defer cancel()
	seconds := int64((l.r.Lifetime() + time.Second - 1) / time.Second)
	grant, err := l.e.client.Grant(ctx, seconds)
	if err != nil {
		return err
	}
	if _, err := l.e.client.Put(ctx, l.e.folder(l.r.Service)+l.r.Addr, l.r.Addr, clientv3.WithLease(grant.ID)); err != nil {
		return err
	}
	l.mu.Lock()
	l.id = grant.ID
	l.mu.Unlock()
	return nil
}

func (l *lease) current() clientv3.LeaseID {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.id
}

// keep renews the lease, and registers again when it is lost, until ctx ends.
func (l *lease) keep(ctx context.Context) {
	var backoff discovery.Backoff
	for ctx.Err() == nil {
		// It renews three times in a lifetime, and gives up when that is over.
		if renewals, err := l.e.client.KeepAlive(ctx, l.current()); err == nil {
			for range renewals {
				backoff.Reset()
			}
		}
		if ctx.Err() != nil || !backoff.Wait(ctx) {
			return
		}
		if err := l.put(ctx); err != nil && ctx.Err() == nil {
			l.e.log.WarnContext(ctx, "registration lost", "service", l.r.Service, "addr", l.r.Addr, "err", err)
		} else if err == nil {
			l.e.log.InfoContext(ctx, "registered again", "service", l.r.Service, "addr", l.r.Addr)
		}
	}
}

// Withdraw implements [discovery.Lease]: the key goes with its lease.
func (l *lease) Withdraw(ctx context.Context) error {
	l.stop()
	l.keeping.Wait()
	_, err := l.e.client.Revoke(ctx, l.current())
	if err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return fmt.Errorf("etcd: withdraw %s at %s: %w", l.r.Service, l.r.Addr, err)
	}
	return nil
}
