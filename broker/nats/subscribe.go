package nats

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/argosy-go/argosy/broker"
)

const (
	// redeliverAfter is the server's patience with a message that is not acked.
	redeliverAfter = 30 * time.Second
	// defaultInFlight bounds what is delivered and not acked.
	defaultInFlight = 1024
	// ahead is how many messages the client asks for before they are received.
	ahead = 256
	// heartbeat is how often an idle server says that it is there; after two
	// that are missed the client asks again.
	heartbeat = 2 * time.Second
	// pullExpiry is how long the server knows that a client asked: shorter than
	// a replica that stands still is left alone, so that it is not given what
	// its successor is to get.
	pullExpiry = 10 * time.Second
	// askAgain is how long after a message the client looks whether it must ask
	// for more: long for sending a request, short for who waits for messages.
	askAgain = 50 * time.Millisecond
	// pumpPause keeps a receiver whose server is away from spinning.
	pumpPause = 250 * time.Millisecond
	// infoWait bounds the question whether the consumer is still there.
	infoWait = 5 * time.Second
)

// Subscribe implements broker.Broker.
func (b *Broker) Subscribe(ctx context.Context, s broker.Subscription) (broker.Receiver, error) {
	if b.closing.Err() != nil {
		return nil, broker.ErrClosed
	}
	if err := checkTopic(s.Topic); err != nil {
		return nil, err
	}
	if s.Consumer == "" || !distinct(s.Partitions) {
		return nil, errInvalid.WithMessage("subscribe to %s: a consumer name and at least one partition, each once, are needed", s.Topic)
	}
	if s.MaxInFlight <= 0 {
		s.MaxInFlight = defaultInFlight
	}
	turn := newTurn()
	c, next, err := b.consumer(ctx, consumerConfig(s, turn))
	if err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", s.Topic, unavailable(err))
	}
	messages, err := c.Messages(jetstream.PullPriorityGroup(turn), jetstream.PullMaxMessages(min(ahead, s.MaxInFlight)), jetstream.PullHeartbeat(heartbeat), jetstream.PullExpiry(pullExpiry))
	if err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", s.Topic, unavailable(err))
	}
	return b.receive(c, messages, next)
}

// consumer returns the durable consumer, made where there is none, and the
// number of its next delivery. One that exists keeps where it began, and begins
// again with what is not acknowledged.
func (b *Broker) consumer(ctx context.Context, want jetstream.ConsumerConfig) (c jetstream.Consumer, next uint64, err error) {
	have, err := b.js.Consumer(ctx, streamName, want.Durable)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil, 0, err
	}
	if err == nil {
		began := have.CachedInfo().Config
		want.DeliverPolicy, want.OptStartTime = began.DeliverPolicy, began.OptStartTime
	}
	if c, err = b.js.CreateOrUpdateConsumer(ctx, streamName, want); err != nil {
		return nil, 0, err
	}
	info := c.CachedInfo()
	for pending := info.NumAckPending; pending > 0; {
		if info, err = c.Info(ctx); err != nil {
			return nil, 0, err
		}
		if info.NumAckPending < pending { // the last acks are still on their way
			pending = info.NumAckPending
			continue
		}
		// A receiver that is gone took these. They come again first and in order,
		// not between later ones when the server's patience has ended.
		_, err = b.js.ResetConsumer(ctx, streamName, want.Durable)
		return c, 1, err
	}
	return c, info.Delivered.Consumer + 1, nil
}

// newTurn names the group of clients that a receiver is alone in. Each receiver
// makes its own the only one of its consumer, so the server refuses what the
// one before it asks for from then on: a process that stood still while another
// took its place takes no message away from it.
func newTurn() string { return rand.Text()[:16] }

func consumerConfig(s broker.Subscription, turn string) jetstream.ConsumerConfig {
	c := jetstream.ConsumerConfig{
		Durable: durable(s), AckPolicy: jetstream.AckExplicitPolicy, AckWait: redeliverAfter, MaxDeliver: -1,
		MaxAckPending: s.MaxInFlight, DeliverPolicy: jetstream.DeliverAllPolicy,
		PriorityPolicy: jetstream.PriorityPolicyOverflow, PriorityGroups: []string{turn},
	}
	if s.Start == broker.FromNow {
		c.DeliverPolicy = jetstream.DeliverNewPolicy
	}
	for _, p := range sorted(s.Partitions) {
		c.FilterSubjects = append(c.FilterSubjects, subject(s.Topic, p))
	}
	return c
}

// receiver hands out what a pull consumer delivers.
type receiver struct {
	broker   *Broker
	consumer jetstream.Consumer
	messages jetstream.MessagesContext
	out      chan arrival
	once     sync.Once
	stopped  chan struct{}
	done     chan struct{}
	err      error // why out was closed

	expected uint64 // the number of the next delivery; the pump's alone
}

// arrival is a message with what the server says of it.
type arrival struct {
	jetstream.Msg
	meta *jetstream.MsgMetadata
}

// receive starts a receiver, which the broker stops when it closes.
func (b *Broker) receive(c jetstream.Consumer, m jetstream.MessagesContext, next uint64) (*receiver, error) {
	r := &receiver{
		broker: b, consumer: c, messages: m, expected: next,
		out: make(chan arrival, ahead), stopped: make(chan struct{}), done: make(chan struct{}),
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.receivers == nil {
		m.Stop()
		return nil, broker.ErrClosed
	}
	b.receivers[r] = struct{}{}
	go r.pump()
	return r, nil
}

// pump moves messages to where Receive can take several at once. It ends when
// the receiver is stopped, its consumer is gone, or a delivery is missing.
func (r *receiver) pump() {
	defer close(r.done)
	defer close(r.out)
	for {
		m, err := r.next()
		switch {
		case err == nil:
			a, err := r.inTurn(m)
			if err != nil {
				r.messages.Stop()
				r.err = unavailable(err)
				return
			}
			select {
			case r.out <- a:
			case <-r.stopped:
				r.err = broker.ErrClosed
				return
			}
		case r.isStopped():
			r.err = broker.ErrClosed
			return
		case r.ended(err):
			r.messages.Stop()
			r.err = unavailable(err)
			return
		}
	}
}

// inTurn refuses a message when a delivery before it did not arrive: what was
// sent over a connection that broke, or by a server that was killed, comes
// again when the server's patience ends, and would come behind this one. The
// next receiver begins with it. A number that was there before is a new
// leader's, which does not know of all that the one before it delivered.
func (r *receiver) inTurn(m jetstream.Msg) (arrival, error) {
	meta, err := m.Metadata()
	if err != nil {
		return arrival{}, err
	}
	if n := meta.Sequence.Consumer; n > r.expected {
		return arrival{}, fmt.Errorf("%d deliveries to %s were lost on their way", n-r.expected, r.consumer.CachedInfo().Name)
	}
	r.expected = meta.Sequence.Consumer + 1
	return arrival{m, meta}, nil
}

// next returns the next message, however long that takes. The client asks the
// server for more while it hands out messages, but not while its last request
// is still being sent: when that takes longer than all messages last, it waits
// for what nobody asked for, until a heartbeat is missed. So it is called once
// more, a moment after a message.
func (r *receiver) next() (jetstream.Msg, error) {
	m, err := r.messages.Next(jetstream.NextMaxWait(askAgain))
	if errors.Is(err, nats.ErrTimeout) {
		return r.messages.Next()
	}
	return m, err
}

func (r *receiver) isStopped() bool {
	select {
	case <-r.stopped:
		return true
	default:
		return false
	}
}

// ended reports whether the messages end with err. After any other, as a
// missed heartbeat or a reconnect, the client pulls again by itself; ended
// then returns after a pause, and asks whether there is still what to pull from.
func (r *receiver) ended(err error) bool {
	if errors.Is(err, jetstream.ErrMsgIteratorClosed) || errors.Is(err, nats.ErrConnectionClosed) ||
		errors.Is(err, jetstream.ErrConsumerDeleted) || errors.Is(err, jetstream.ErrBadRequest) {
		return true
	}
	r.broker.log.Debug("a subscription waits for the broker", "consumer", r.consumer.CachedInfo().Name, "error", err)
	pause := time.NewTimer(pumpPause)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-r.stopped:
		return false
	}
	ctx, cancel := context.WithTimeout(r.broker.closing, infoWait)
	defer cancel()
	_, err = r.consumer.Info(ctx)
	return errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound)
}

// Receive implements broker.Receiver.
func (r *receiver) Receive(ctx context.Context, most int) ([]broker.Delivery, error) {
	if r.isStopped() {
		return nil, broker.ErrClosed
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	var got []broker.Delivery
	select {
	case m, ok := <-r.out:
		if !ok {
			return nil, r.err
		}
		got = append(got, delivery(m))
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-r.stopped:
		return nil, broker.ErrClosed
	}
	for len(got) < most {
		select {
		case m, ok := <-r.out:
			if !ok {
				return got, nil // the next call tells
			}
			got = append(got, delivery(m))
		default:
			return got, nil
		}
	}
	return got, nil
}

// Close implements broker.Receiver. What was pulled and not received comes
// again: to the next receiver at once.
func (r *receiver) Close() error {
	r.broker.mu.Lock()
	delete(r.broker.receivers, r)
	r.broker.mu.Unlock()
	r.stop()
	return nil
}

// stop ends the pump and waits for it.
func (r *receiver) stop() {
	r.once.Do(func() {
		close(r.stopped)
		r.messages.Stop()
	})
	<-r.done
}
