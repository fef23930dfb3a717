package argosytest

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/argosy-go/argosy/broker"
)

// Faults are what an unreliable broker does. Rates are shares, 0 to 1.
type Faults struct {
	// Seed makes the rates come out the same again, as far as the calls do.
	Seed uint64
	// LoseRequests: a publication never arrives. LoseReplies: it is stored and
	// nobody is told. LoseAcks: an acknowledgement never arrives.
	LoseRequests, LoseReplies, LoseAcks float64
	// Repeat is how likely a message that was delivered, and perhaps
	// acknowledged, is delivered once more, at any time and in any order. First
	// deliveries keep their order, since every broker keeps it.
	Repeat float64
	// Copies delivers every message that many times more. Zero: none.
	Copies int
	// Delay is the longest time that a publication takes. Zero: no time.
	Delay time.Duration
}

// redeliverAfter is when a message comes again whose acknowledgement was lost.
const redeliverAfter = 20 * time.Millisecond

// Unreliable puts faults between a fleet and a broker, which keeps what the
// broker promises and nothing more.
func Unreliable(inner broker.Opener, f Faults) broker.Opener {
	return &unreliable{inner: inner, faults: f, dice: rand.New(rand.NewPCG(f.Seed, 2))}
}

type unreliable struct {
	inner  broker.Opener
	faults Faults

	mu   sync.Mutex
	dice *rand.Rand
}

// Unacknowledged says what the broker inside says: see [Fleet.Waiting].
func (u *unreliable) Unacknowledged(topic, consumer string) int {
	if b, ok := u.inner.(counting); ok {
		return b.Unacknowledged(topic, consumer)
	}
	return 0
}

// counting is a broker that knows what it has still to deliver.
type counting interface {
	Unacknowledged(topic, consumer string) int
}

// throw reports whether something that happens at a rate happens now.
func (u *unreliable) throw(rate float64) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.dice.Float64() < rate
}

func (u *unreliable) below(n int64) int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.dice.Int64N(n)
}

// Open implements [broker.Opener].
func (u *unreliable) Open(ctx context.Context, o broker.OpenOptions) (broker.Broker, error) {
	b, err := u.inner.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	return &unreliableBroker{b, u}, nil
}

type unreliableBroker struct {
	broker.Broker
	u *unreliable
}

// Publish implements [broker.Broker].
func (b *unreliableBroker) Publish(ctx context.Context, messages []broker.Message) []error {
	if d := b.u.faults.Delay; d > 0 {
		t := time.NewTimer(time.Duration(b.u.below(int64(d))))
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return unavailable(messages)
		}
	}
	if b.u.throw(b.u.faults.LoseRequests) {
		return unavailable(messages)
	}
	errs := b.Broker.Publish(ctx, messages)
	if b.u.throw(b.u.faults.LoseReplies) {
		return unavailable(messages)
	}
	return errs
}

func unavailable(messages []broker.Message) []error {
	errs := make([]error, len(messages))
	for i := range errs {
		errs[i] = broker.ErrUnavailable
	}
	return errs
}

// Subscribe implements [broker.Broker].
func (b *unreliableBroker) Subscribe(ctx context.Context, s broker.Subscription) (broker.Receiver, error) {
	r, err := b.Broker.Subscribe(ctx, s)
	if err != nil {
		return nil, err
	}
	return &unreliableReceiver{Receiver: r, u: b.u}, nil
}

// keptAtMost is how many messages are remembered for another delivery.
const keptAtMost = 256

// unreliableReceiver is used by one goroutine, as receivers are.
type unreliableReceiver struct {
	broker.Receiver
	u    *unreliable
	old  []broker.Delivery // those that may come once more
	next []broker.Delivery // those that come next
}

// Receive implements [broker.Receiver].
func (r *unreliableReceiver) Receive(ctx context.Context, most int) ([]broker.Delivery, error) {
	if len(r.next) > 0 {
		n := min(most, len(r.next))
		out := r.next[:n:n]
		r.next = r.next[n:]
		return out, nil
	}
	ds, err := r.Receiver.Receive(ctx, most)
	for i := range ds {
		ds[i] = r.losing(ds[i])
		again := ds[i]
		again.Ack = func() error { return nil } // it is settled by the first
		again.Nack = func(time.Duration) error { return nil }
		for range r.u.faults.Copies {
			r.again(again)
		}
		if len(r.old) < keptAtMost {
			r.old = append(r.old, again)
		}
		for len(r.old) > 0 && r.u.throw(r.u.faults.Repeat) {
			r.again(r.old[r.u.below(int64(len(r.old)))])
		}
	}
	return ds, err
}

// again puts a delivery somewhere among those that come next.
func (r *unreliableReceiver) again(d broker.Delivery) {
	r.next = append(r.next, d)
	i, last := r.u.below(int64(len(r.next))), len(r.next)-1
	r.next[i], r.next[last] = r.next[last], r.next[i]
}

// losing returns a delivery whose acknowledgement may be lost.
func (r *unreliableReceiver) losing(d broker.Delivery) broker.Delivery {
	ack, nack := d.Ack, d.Nack
	d.Ack = func() error {
		if r.u.throw(r.u.faults.LoseAcks) {
			return nack(redeliverAfter)
		}
		return ack()
	}
	return d
}
