package memory

import (
	"context"
	"time"

	"github.com/argosy-go/argosy/broker"
)

var _ broker.Rewinder = (*connection)(nil)

// Rewind implements [broker.Rewinder].
func (c *connection) Rewind(ctx context.Context, s broker.Subscription, from time.Time) error {
	if c.closed() {
		return broker.ErrClosed
	}
	if err := checkSubscription(s); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return broker.ErrUnavailable.Wrap(err)
	}
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	t := c.server.topicOf(s.Topic)
	p := t.positionOf(s)
	if p.receiver != nil {
		p.receiver.end()
	}
	clear(p.flights)
	p.next = t.base
	for p.next < t.base+len(t.log) && t.log[p.next-t.base].at.Before(from) {
		p.next++
	}
	c.server.notify()
	return nil
}

// MaxAge returns how long messages are kept: see [broker.Keeper].
func (c *connection) MaxAge() time.Duration { return c.maxAge }
