package brokertest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/argosy-go/argosy/broker"
)

// Adapter says how to reach the broker under test.
type Adapter struct {
	// New makes an empty broker, or what is as good as that: topics that no other
	// test has used. It returns what opens it, which a test calls again after it
	// has closed what it opened before: messages and positions are still there.
	// The suite closes what it opened.
	New func(t *testing.T) (open func() broker.Broker)
	// Patience bounds a wait for something that must come. Zero: 20 s.
	Patience time.Duration
}

// Run runs the suite.
func Run(t *testing.T, a Adapter) {
	if a.Patience == 0 {
		a.Patience = 20 * time.Second
	}
	groups := []map[string]func(*bench){publishRules, dedupeRules, receiveRules, lifeRules, rewindRules}
	for _, rules := range groups {
		for _, name := range slices.Sorted(maps.Keys(rules)) {
			t.Run(name, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 3*a.Patience)
				t.Cleanup(cancel)
				b := &bench{T: t, ctx: ctx, patience: a.Patience, open: a.New(t)}
				b.Broker = b.reopen()
				rules[name](b)
			})
		}
	}
}

// bench is what a rule works with: a broker and shorthands.
type bench struct {
	*testing.T
	broker.Broker
	ctx      context.Context
	patience time.Duration
	open     func() broker.Broker
}

// reopen opens the broker, again after it was closed.
func (b *bench) reopen() broker.Broker {
	b.Helper()
	opened := b.open()
	b.Cleanup(func() { _ = opened.Close() })
	return opened
}

// message returns a message whose body is its id.
func message(topic string, partition int, id string) broker.Message {
	return broker.Message{ID: id, Topic: topic, Partition: partition, Body: []byte(id)}
}

// numbered returns n messages of a partition, with the ids p-0, p-1 and so on.
func numbered(topic string, partition int, p string, n int) []broker.Message {
	ms := make([]broker.Message, n)
	for i := range ms {
		ms[i] = message(topic, partition, fmt.Sprintf("%s-%d", p, i))
	}
	return ms
}

func ids(ms []broker.Message) []string {
	s := make([]string, len(ms))
	for i, m := range ms {
		s[i] = m.ID
	}
	return s
}

// publish fails the test when a message is not stored.
func (b *bench) publish(ms ...broker.Message) {
	b.Helper()
	if errs := b.Publish(b.ctx, ms); errs != nil {
		for i, err := range errs {
			if err != nil {
				b.Fatalf("rule 1: message %d (%s) of %d was not stored: %v", i, ms[i].ID, len(ms), err)
			}
		}
		b.Fatal("rule 2: Publish returned errors that are all nil; the result is nil when all messages were stored")
	}
}

// subscribe opens a receiver from the beginning of the partitions.
func (b *bench) subscribe(consumer, topic string, partitions ...int) broker.Receiver {
	b.Helper()
	return b.subscribeTo(broker.Subscription{Consumer: consumer, Topic: topic, Partitions: partitions})
}

func (b *bench) subscribeTo(s broker.Subscription) broker.Receiver {
	b.Helper()
	r, err := b.Subscribe(b.ctx, s)
	if err != nil {
		b.Fatalf("Subscribe as %q to %s %v: %v", s.Consumer, s.Topic, s.Partitions, err)
	}
	b.Cleanup(func() { _ = r.Close() })
	return r
}

// take receives n deliveries, without acknowledging them.
func (b *bench) take(r broker.Receiver, n int) []broker.Delivery {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, b.patience)
	defer cancel()
	var got []broker.Delivery
	for len(got) < n {
		ds, err := r.Receive(ctx, n-len(got))
		if err != nil {
			b.Fatalf("receiver rule 1: got %d of %d messages, then: %v", len(got), n, err)
		}
		if len(ds) == 0 || len(ds) > n-len(got) {
			b.Fatalf("receiver rule 1: asked for 1 to %d messages, got %d", n-len(got), len(ds))
		}
		got = append(got, ds...)
	}
	return got
}

// takeIDs receives n deliveries, acknowledges them and returns their ids.
func (b *bench) takeIDs(r broker.Receiver, n int) []string {
	b.Helper()
	var got []string
	for _, d := range b.take(r, n) {
		b.ack(d)
		got = append(got, d.ID)
	}
	return got
}

func (b *bench) ack(d broker.Delivery) {
	b.Helper()
	if err := d.Ack(); err != nil {
		b.Fatalf("Ack of %s: %v", d.ID, err)
	}
}

// same fails the test with the rule unless got is want.
func (b *bench) same(rule string, got, want []string) {
	b.Helper()
	if slices.Equal(got, want) {
		return
	}
	at := 0
	for at < len(got) && at < len(want) && got[at] == want[at] {
		at++
	}
	b.Fatalf("%s: %d ids, want %d; the first difference is at %d\n got  %.20q\n want %.20q", rule, len(got), len(want), at, got[at:], want[at:])
}

// holds fails the test with the rule unless the partition holds exactly these
// messages in this order: it reads them from the beginning up to an end mark
// that it publishes.
func (b *bench) holds(rule, topic string, partition int, want []string) {
	b.Helper()
	end := fmt.Sprintf("end-%s-%d-%d", topic, partition, time.Now().UnixNano())
	b.publish(message(topic, partition, end))
	r := b.subscribe("holds-"+end, topic, partition)
	defer r.Close()
	var got []string
	for {
		ds := b.take(r, 1)
		b.ack(ds[0])
		if ds[0].ID == end {
			b.same(rule, got, want)
			return
		}
		got = append(got, ds[0].ID)
	}
}
