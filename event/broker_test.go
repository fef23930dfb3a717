package event_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
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

// position is that of a durable consumer in some partitions.
type position struct {
	consumer   string
	partitions []int
	begin      int // index into the log
	next       int // index into the log
	acked      map[string]int
	passed     map[string]bool // not for it
	ended      bool            // its receiver was closed
	receiver   *fakeReceiver   // the last one
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
	p := b.positions[fmt.Sprint(s.Consumer, s.Partitions)]
	if p == nil {
		p = &position{consumer: s.Consumer, partitions: s.Partitions, acked: map[string]int{}, passed: map[string]bool{}}
		if s.Start == broker.FromNow {
			p.begin, p.next = len(b.log), len(b.log)
		}
		b.positions[fmt.Sprint(s.Consumer, s.Partitions)] = p
	} else { // what was not acknowledged comes again, first
		p.next = p.firstUnacked(b.log)
		p.receiver.end()
	}
	p.receiver = &fakeReceiver{broker: b, position: p, topic: s.Topic, done: make(chan struct{})}
	return p.receiver, nil
}

// firstUnacked returns where the first message is that was not acknowledged,
// among those that were delivered.
func (p *position) firstUnacked(log []broker.Message) int {
	for i := p.begin; i < p.next; i++ {
		if id := log[i].ID; p.acked[id] == 0 && !p.passed[id] {
			return i
		}
	}
	return p.next
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

// inOrder reports whether the messages of a topic have these keys, in this order
// within each partition.
func (b *fake) inOrder(topic string, keys []string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	partitions := map[string]int{}
	got, want := map[int][]string{}, map[int][]string{}
	for _, m := range b.log {
		if m.Topic == topic {
			key := m.Header["ce-subject"]
			partitions[key] = m.Partition
			got[m.Partition] = append(got[m.Partition], key)
		}
	}
	for _, key := range keys {
		want[partitions[key]] = append(want[partitions[key]], key)
	}
	return maps.EqualFunc(got, want, slices.Equal)
}

// acks returns how often the consumer acknowledged the message.
func (b *fake) acks(consumer, id string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, p := range b.of(consumer) {
		n += p.acked[id]
	}
	return n
}

// of returns the positions of a consumer.
func (b *fake) of(consumer string) []*position {
	var all []*position
	for _, p := range b.positions {
		if p.consumer == consumer {
			all = append(all, p)
		}
	}
	return all
}

// unacked returns the ids that the consumer has not acknowledged.
func (b *fake) unacked(consumer string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var ids []string
	for _, m := range b.log {
		if !slices.ContainsFunc(b.of(consumer), func(p *position) bool { return p.acked[m.ID] > 0 }) {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

// subscribed reports whether the consumer has a position in every partition.
func (b *fake) subscribed(consumer string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, p := range b.of(consumer) {
		n += len(p.partitions)
	}
	return n == 4
}

// closed reports whether a receiver of the consumer was closed.
func (b *fake) closed(consumer string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.of(consumer), func(p *position) bool { return p.ended })
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
		select {
		case <-r.done:
			return nil, broker.ErrClosed
		default:
		}
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
		if m.Topic != r.topic || !slices.Contains(r.position.partitions, m.Partition) {
			r.position.passed[m.ID] = true
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
	r.end()
	r.broker.change(func() { r.position.ended = true })
	return nil
}

func (r *fakeReceiver) end() { r.once.Do(func() { close(r.done) }) }
