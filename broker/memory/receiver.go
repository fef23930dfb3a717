package memory

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/argosy-go/argosy/broker"
)

// receiver delivers what a position has not seen, and what is due again.
type receiver struct {
	connection *connection
	topic      *topic
	position   *position
	limit      int
	once       sync.Once
	done       chan struct{}
}

var _ broker.Receiver = (*receiver)(nil)

// take over makes r the receiver of its position: what was under way with the
// one before is due at once. Whoever calls it holds the server's mu.
func (r *receiver) takeOver() {
	if old := r.position.receiver; old != nil {
		old.end()
	}
	r.position.receiver = r
	for _, f := range r.position.flights {
		f.due = time.Time{}
	}
}

func (r *receiver) end() { r.once.Do(func() { close(r.done) }) }

// Close implements [broker.Receiver].
func (r *receiver) Close() error {
	r.end()
	return nil
}

// Receive implements [broker.Receiver].
func (r *receiver) Receive(ctx context.Context, most int) ([]broker.Delivery, error) {
	for {
		select {
		case <-r.done:
			return nil, broker.ErrClosed
		case <-r.connection.done:
			return nil, broker.ErrClosed
		default:
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		batch, changed, due := r.take(most)
		if len(batch) > 0 {
			return batch, nil
		}
		if err := r.wait(ctx, changed, due); err != nil {
			return nil, err
		}
	}
}

// wait waits for a change, for the next message that is due again, or the end.
func (r *receiver) wait(ctx context.Context, changed <-chan struct{}, due time.Time) error {
	var again <-chan time.Time
	if !due.IsZero() {
		t := time.NewTimer(time.Until(due))
		defer t.Stop()
		again = t.C
	}
	select {
	case <-changed:
	case <-again:
	case <-r.done:
		return broker.ErrClosed
	case <-r.connection.done:
		return broker.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// take returns what can be delivered now; with nothing, what to wait for.
func (r *receiver) take(most int) (batch []broker.Delivery, changed <-chan struct{}, due time.Time) {
	s := r.connection.server
	s.mu.Lock()
	defer s.mu.Unlock()
	now, p, t := time.Now(), r.position, r.topic
	flying := make([]int, 0, len(p.flights))
	for number, f := range p.flights {
		if !f.due.After(now) {
			flying = append(flying, number)
		} else if due.IsZero() || f.due.Before(due) {
			due = f.due
		}
	}
	slices.Sort(flying)
	for _, number := range flying[:min(most, len(flying))] {
		f := p.flights[number]
		f.attempt++
		f.due = now.Add(Patience)
		batch = append(batch, r.delivery(number, f.attempt))
	}
	for ; p.next < t.base+len(t.log) && len(batch) < most && len(p.flights) < r.limit; p.next++ {
		if p.wants(t.log[p.next-t.base].Partition) {
			p.flights[p.next] = &flight{attempt: 1, due: now.Add(Patience)}
			batch = append(batch, r.delivery(p.next, 1))
		}
	}
	return batch, s.changed, due
}

// delivery hands out a message. Whoever calls it holds the server's mu.
func (r *receiver) delivery(number, attempt int) broker.Delivery {
	m := r.topic.log[number-r.topic.base]
	settle := func(f func(*flight)) error {
		s := r.connection.server
		s.mu.Lock()
		defer s.mu.Unlock()
		if flight := r.position.flights[number]; flight != nil {
			f(flight)
			s.notify()
		}
		return nil
	}
	return broker.Delivery{
		Message: m.Message, Attempt: attempt, Time: m.at,
		Ack:  func() error { return settle(func(*flight) { delete(r.position.flights, number) }) },
		Nack: func(d time.Duration) error { return settle(func(f *flight) { f.due = time.Now().Add(d) }) },
	}
}
