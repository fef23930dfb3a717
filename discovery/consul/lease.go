package consul

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/argosy-go/argosy/discovery"
)

// forgotten is after how long the agent drops a service that did not come back.
// It is out of the set as soon as its check fails; Consul has no shorter time.
const forgotten = time.Minute

// lease is a registration that is kept.
type lease struct {
	c       *consul
	r       discovery.Registration
	host    string
	port    int
	stop    context.CancelFunc
	keeping sync.WaitGroup
}

// Register implements [discovery.Registrar].
func (c *consul) Register(ctx context.Context, r discovery.Registration) (discovery.Lease, error) {
	if err := r.Check(); err != nil {
		return nil, fmt.Errorf("consul: %w", err)
	}
	host, port, err := net.SplitHostPort(r.Addr)
	if err != nil {
		return nil, fmt.Errorf("consul: register %s: %w", r.Service, err)
	}
	l := &lease{c: c, r: r, host: host}
	if l.port, err = strconv.Atoi(port); err != nil {
		return nil, fmt.Errorf("consul: register %s: %w", r.Service, err)
	}
	if err := l.put(ctx); err != nil {
		return nil, fmt.Errorf("consul: register %s at %s: %w", r.Service, r.Addr, err)
	}
	keep, stop := context.WithCancel(context.Background())
	l.stop = stop
	l.keeping.Go(func() { l.keep(keep) })
	return l, nil
}

// id names the registration; the same address registers over itself.
func (l *lease) id() string { return l.r.Service + "-" + l.r.Addr }

// put registers the service with a check that passes from the start.
func (l *lease) put(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return l.c.client.Agent().ServiceRegisterOpts(&api.AgentServiceRegistration{
		ID: l.id(), Name: l.r.Service, Address: l.host, Port: l.port,
		Check: &api.AgentServiceCheck{
			CheckID: "service:" + l.id(), TTL: l.r.Lifetime().String(), Status: api.HealthPassing,
			DeregisterCriticalServiceAfter: forgotten.String(),
		},
	}, api.ServiceRegisterOpts{}.WithContext(ctx))
}

// keep passes the check three times in its lifetime, until ctx ends.
func (l *lease) keep(ctx context.Context) {
	beat := time.NewTicker(l.r.Lifetime() / 3)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
		}
		err := l.renew(ctx)
		var status api.StatusError
		if errors.As(err, &status) { // the agent answers, but does not know the check
			if err = l.put(ctx); err == nil {
				l.c.log.InfoContext(ctx, "registered again", "service", l.r.Service, "addr", l.r.Addr)
			}
		}
		if err != nil && ctx.Err() == nil {
			l.c.log.WarnContext(ctx, "registration not renewed", "service", l.r.Service, "addr", l.r.Addr, "err", err)
		}
	}
}

func (l *lease) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return l.c.client.Agent().UpdateTTLOpts("service:"+l.id(), "", api.HealthPassing, (&api.QueryOptions{}).WithContext(ctx))
}

// Withdraw implements [discovery.Lease].
func (l *lease) Withdraw(ctx context.Context) error {
	l.stop()
	l.keeping.Wait()
	err := l.c.client.Agent().ServiceDeregisterOpts(l.id(), (&api.QueryOptions{}).WithContext(ctx))
	var status api.StatusError
	if errors.As(err, &status) && status.Code == http.StatusNotFound {
		return nil
	}
	if err != nil {
		return fmt.Errorf("consul: withdraw %s at %s: %w", l.r.Service, l.r.Addr, err)
	}
	return nil
}
