package nats

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/argosy-go/argosy/broker"
)

var _ broker.Rewinder = (*Broker)(nil)

// Rewind implements broker.Rewinder: where a consumer begins cannot be changed,
// so it is made anew.
func (b *Broker) Rewind(ctx context.Context, s broker.Subscription, from time.Time) error {
	if b.closing.Err() != nil {
		return broker.ErrClosed
	}
	if err := checkTopic(s.Topic); err != nil {
		return err
	}
	c := consumerConfig(s, newTurn())
	c.DeliverPolicy, c.OptStartTime = jetstream.DeliverByStartTimePolicy, &from
	if err := b.js.DeleteConsumer(ctx, streamName, c.Durable); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("rewind %s: %w", s.Consumer, unavailable(err))
	}
	if _, err := b.js.CreateOrUpdateConsumer(ctx, streamName, c); err != nil {
		return fmt.Errorf("rewind %s: %w", s.Consumer, unavailable(err))
	}
	return nil
}

// MaxAge returns how long messages are kept: see broker.Keeper.
func (b *Broker) MaxAge() time.Duration { return b.maxAge }
