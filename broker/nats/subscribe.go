package nats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
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
)

// Subscribe implements broker.Broker.
func (b *Broker) Subscribe(ctx context.Context, s broker.Subscription) (broker.Receiver, error) {
	if err := checkTopic(s.Topic); err != nil {
		return nil, err
	}
	if s.Consumer == "" || len(s.Partitions) == 0 {
		return nil, fmt.Errorf("subscribe to %s: a consumer name and at least one partition are needed", s.Topic)
	}
	if s.MaxInFlight == 0 {
		s.MaxInFlight = defaultInFlight
	}
	c, err := b.js.CreateOrUpdateConsumer(ctx, streamName, consumerConfig(s))
	if err != nil {
		return nil, unavailable(err)
	}
	if c.CachedInfo().NumAckPending > 0 {
		// A receiver that is gone took these. They come again first and in order,
		// not between later ones when the server's patience has ended.
		if _, err := b.js.ResetConsumer(ctx, streamName, c.CachedInfo().Name); err != nil {
			return nil, unavailable(err)
		}
	}
	messages, err := c.Messages(jetstream.PullMaxMessages(min(ahead, s.MaxInFlight)))
	if err != nil {
		return nil, unavailable(err)
	}
	return newReceiver(messages), nil
}

func consumerConfig(s broker.Subscription) jetstream.ConsumerConfig {
	c := jetstream.ConsumerConfig{
		Durable: durable(s), AckPolicy: jetstream.AckExplicitPolicy, AckWait: redeliverAfter, MaxDeliver: -1,
		MaxAckPending: s.MaxInFlight, DeliverPolicy: jetstream.DeliverAllPolicy,
	}
	if s.Start == broker.FromNow {
		c.DeliverPolicy = jetstream.DeliverNewPolicy
	}
	for _, p := range s.Partitions {
		c.FilterSubjects = append(c.FilterSubjects, subject(s.Topic, p))
	}
	return c
}

// durable returns a name that the server accepts, another one for another
// consumer or other partitions: what it does not accept is hex-encoded.
func durable(s broker.Subscription) string {
	var b strings.Builder
	for i := range len(s.Consumer) {
		c := s.Consumer[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' {
			b.WriteByte(c)
			continue
		}
		fmt.Fprintf(&b, "_%02x", c)
	}
	numbers := slices.Sorted(slices.Values(s.Partitions))
	for _, p := range numbers {
		b.WriteString("_" + strconv.Itoa(p))
	}
	return b.String()
}

// receiver hands out what a pull consumer delivers.
type receiver struct {
	messages jetstream.MessagesContext
	out      chan jetstream.Msg
	err      error // why out was closed
}

func newReceiver(m jetstream.MessagesContext) *receiver {
	r := &receiver{messages: m, out: make(chan jetstream.Msg)}
	go r.pump()
	return r
}

// pump ends when Close stops the messages.
func (r *receiver) pump() {
	defer close(r.out)
	for {
		m, err := r.messages.Next()
		switch {
		case errors.Is(err, jetstream.ErrMsgIteratorClosed):
			r.err = broker.ErrClosed
			return
		case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, jetstream.ErrConsumerDeleted):
			r.err = unavailable(err)
			return
		case err != nil:
			continue // a missed heartbeat or a reconnect: the client pulls again by itself
		}
		r.out <- m
	}
}

// Receive implements broker.Receiver.
func (r *receiver) Receive(ctx context.Context, most int) ([]broker.Delivery, error) {
	var got []broker.Delivery
	select {
	case m, ok := <-r.out:
		if !ok {
			return nil, r.err
		}
		got = append(got, delivery(m))
	case <-ctx.Done():
		return nil, context.Cause(ctx)
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

// Close implements broker.Receiver.
func (r *receiver) Close() error {
	r.messages.Stop()
	for range r.out { // what was pulled and not received comes again
	}
	return nil
}

// delivery makes a delivery of a message of the protocol.
func delivery(m jetstream.Msg) broker.Delivery {
	d := broker.Delivery{Ack: m.Ack, Nack: m.NakWithDelay}
	h := m.Headers()
	d.ID, d.Body = h.Get(nats.MsgIdHdr), m.Data()
	d.Header = make(map[string]string, len(h))
	for name, values := range h {
		if len(values) == 1 && !strings.HasPrefix(name, "Nats-") {
			d.Header[name] = unescape(values[0])
		}
	}
	topic := strings.TrimPrefix(m.Subject(), prefix)
	if i := strings.LastIndexByte(topic, '.'); i >= 0 {
		if n, err := strconv.Atoi(topic[i+1:]); err == nil {
			d.Topic, d.Partition = topic[:i], n
		}
	}
	if meta, err := m.Metadata(); err == nil {
		d.Attempt, d.Time = int(meta.NumDelivered), meta.Timestamp
	}
	return d
}
