package event_test

import (
	"context"
	"sync"
	"time"

	"github.com/argosy-go/argosy/broker"
)

// fake is a broker in memory that can be told to misbehave.
type fake struct {
	limit   int
	changed *signal

	mu        sync.Mutex
	topics    map[string]int
	log       []broker.Message // all that is stored, in order
	ids       map[string]bool
	positions map[string]*position

	// copies is how often each message is delivered, at least once.
	copies int
	// shuffle reorders a batch of deliveries. Nil: as they are.
	shuffle func([]broker.Delivery)
	// loseAck reports whether an acknowledgement is lost.
	loseAck func(id string) bool
	// refuse returns the error of publishing a message. Nil: none.
	refuse func(m broker.Message) error
	// away makes everything fail with ErrUnavailable.
	away bool
	// calls counts calls of Publish.
	calls int
}

// position is that of a durable consumer.
type position struct {
	next  int // index into the log
	acked map[string]int
	ended bool // its receiver was closed
}

func newFake(changed *signal) *fake {
	return &fake{limit: 1 << 20, copies: 1, changed: changed, topics: map[string]int{}, ids: map[string]bool{}, positions: map[string]*position{}}
}

// change runs f under the lock and wakes all that wait for a change.
func (b *fake) change(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
	b.changed.notify()
}

func (b *fake) Declare(_ context.Context, topics ...broker.Topic) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.away {
		return broker.ErrUnavailable
	}
	for _, t := range topics {
		b.topics[t.Name] = t.Partitions
	}
	return nil
}

func (b *fake) Publish(_ context.Context, messages []broker.Message) (errs []error) {
	b.change(func() {
		b.calls++
		stuck := map[[2]any]error{}
		for i, m := range messages {
			if err := b.store(m, stuck); err != nil {
				if errs == nil {
					errs = make([]error, len(messages))
				}
				errs[i] = err
			}
		}
	})
	return errs
}

func (b *fake) store(m broker.Message, stuck map[[2]any]error) error {
	lane := [2]any{m.Topic, m.Partition}
	if b.away {
		return broker.ErrUnavailable
	}
	if err := stuck[lane]; err != nil {
		return err
	}
	if b.refuse != nil {
		if err := b.refuse(m); err != nil {
			stuck[lane] = err
			return err
		}
	}
	if !b.ids[m.ID] || m.ID == "" {
		b.ids[m.ID] = true
		b.log = append(b.log, m)
	}
	return nil
}

func (b *fake) Subscribe(_ context.Context, s broker.Subscription) (broker.Receiver, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.away {
		return nil, broker.ErrUnavailable
	}
	p := b.positions[s.Consumer]
	if p == nil {
		p = &position{acked: map[string]int{}}
		if s.Start == broker.FromNow {
			p.next = len(b.log)
		}
		b.positions[s.Consumer] = p
	} else { // what was not acknowledged comes again, first
		for p.next > 0 && !b.ackedBefore(p) {
			p.next--
		}
	}
	return &fakeReceiver{broker: b, position: p, topic: s.Topic, done: make(chan struct{})}, nil
}

func (b *fake) ackedBefore(p *position) bool {
	for _, m := range b.log[:p.next] {
		if p.acked[m.ID] == 0 {
			return false
		}
	}
	return true
}

func (b *fake) Probe(context.Context) error { return nil }
func (b *fake) MaxMessageBytes() int        { return b.limit }
func (b *fake) Close() error                { return nil }

// published returns the keys of the messages of a topic, in order.
func (b *fake) published(topic string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var keys []string
	for _, m := range b.log {
		if m.Topic == topic {
			keys = append(keys, m.Header["ce-subject"])
		}
	}
	return keys
}

// acks returns how often the consumer acknowledged the message.
func (b *fake) acks(consumer, id string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := b.positions[consumer]; p != nil {
		return p.acked[id]
	}
	return 0
}

// unacked returns the ids that the consumer has not acknowledged.
func (b *fake) unacked(consumer string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var ids []string
	for _, m := range b.log {
		if p := b.positions[consumer]; p == nil || p.acked[m.ID] == 0 {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

// subscribed reports whether the consumer has a position.
func (b *fake) subscribed(consumer string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.positions[consumer] != nil
}

// closed reports whether the receiver of the consumer was closed.
func (b *fake) closed(consumer string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.positions[consumer]
	return p != nil && p.ended
}

type fakeReceiver struct {
	broker   *fake
	position *position
	topic    string
	queue    []broker.Delivery
	once     sync.Once
	done     chan struct{}
}

func (r *fakeReceiver) Receive(ctx context.Context, most int) ([]broker.Delivery, error) {
	for {
		changed := r.broker.changed.channel()
		batch, err := r.take(most)
		if len(batch) > 0 || err != nil {
			return batch, err
		}
		select {
		case <-changed:
		case <-r.done:
			return nil, broker.ErrClosed
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (r *fakeReceiver) take(most int) ([]broker.Delivery, error) {
	b := r.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.away {
		return nil, broker.ErrUnavailable
	}
	for r.position.next < len(b.log) {
		m := b.log[r.position.next]
		r.position.next++
		if m.Topic != r.topic {
			r.position.acked[m.ID]++
			continue
		}
		for n := range b.copies {
			r.queue = append(r.queue, r.delivery(m, n+1))
		}
	}
	if b.shuffle != nil {
		b.shuffle(r.queue)
	}
	n := min(most, len(r.queue))
	batch := r.queue[:n:n]
	r.queue = r.queue[n:]
	return batch, nil
}

func (r *fakeReceiver) delivery(m broker.Message, attempt int) broker.Delivery {
	return broker.Delivery{Message: m, Attempt: attempt, Time: time.Now(),
		Ack: func() error {
			r.broker.change(func() {
				if r.broker.loseAck == nil || !r.broker.loseAck(m.ID) {
					r.position.acked[m.ID]++
				}
			})
			return nil
		},
		Nack: func(time.Duration) error { return nil },
	}
}

func (r *fakeReceiver) Close() error {
	r.once.Do(func() {
		close(r.done)
		r.broker.change(func() { r.position.ended = true })
	})
	return nil
}
