package event

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/store"
)

const (
	fetchAhead = 512 // deliveries taken from the broker and not yet dealt with
	fetchLeast = 50 * time.Millisecond
	fetchMost  = 5 * time.Second
)

// fetcher takes the events of one consumer from the broker. It works under a
// lease, and waits while the broker is away or another process holds the lease.
type fetcher struct {
	*runtime
	*consumer

	mu       sync.Mutex // held while opening
	hold     *hold
	receiver broker.Receiver
}

// open claims the lease and subscribes; it reports false when another process
// holds the lease.
func (f *fetcher) open(ctx context.Context) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.receiver != nil {
		return true, nil
	}
	if err := f.declare(ctx); err != nil {
		return false, err
	}
	if f.hold == nil {
		h, free, err := f.claim(ctx, "event/"+f.durable)
		if err != nil || !free {
			return false, err
		}
		f.hold = h
	}
	all := make([]int, partitions)
	for i := range all {
		all[i] = i
	}
	receiver, err := f.setup.Broker().Subscribe(ctx, broker.Subscription{
		Consumer:    f.durable,
		Topic:       f.topic,
		Partitions:  all,
		Start:       f.from,
		MaxInFlight: 2 * fetchAhead,
	})
	if err != nil {
		return false, fmt.Errorf("subscribe to %s: %w", f.topic, err)
	}
	f.receiver = receiver
	return true, nil
}

// run fetches and handles until ctx ends.
func (f *fetcher) run(ctx context.Context) error {
	failures := 0
	for ctx.Err() == nil {
		open, err := f.open(ctx)
		if err == nil && !open {
			pause(ctx, f.settings.LeaseTTL/3)
			continue
		}
		if err == nil {
			begun := f.setup.Now()
			err = f.serve(ctx)
			f.close(err)
			if f.setup.Now().Sub(begun) > fetchMost {
				failures = 0
			}
		}
		if ctx.Err() != nil {
			break
		}
		if failures++; failures == 1 {
			f.setup.Log().Warn("events cannot be fetched and wait", "consumer", f.durable, "error", err)
		}
		pause(ctx, backoff{fetchLeast, fetchMost}.after(failures))
	}
	f.close(nil)
	if f.hold == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchMost)
	defer cancel()
	h := f.hold
	f.hold = nil
	return h.release(ctx)
}

// close ends the subscription, and forgets a lease that was lost.
func (f *fetcher) close(cause error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.receiver != nil {
		if err := f.receiver.Close(); err != nil {
			f.setup.Log().Warn("a subscription did not close", "consumer", f.durable, "error", err)
		}
		f.receiver = nil
	}
	if errors.Is(cause, store.ErrLeaseLost) {
		f.hold = nil
	}
}

// serve handles deliveries until ctx ends, the lease is lost or the broker
// fails; what was taken from the broker and not begun is delivered again.
func (f *fetcher) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	s := &session{
		fetcher: f,
		ctx:     ctx,
		cancel:  cancel,
		lanes:   newLanes(f.concurrency),
		free:    make(chan struct{}, fetchAhead),
		held:    map[string]*time.Timer{},
	}
	var work sync.WaitGroup
	defer work.Wait()
	defer s.stop()
	defer cancel(nil)
	if err := s.recover(); err != nil {
		return err
	}
	if !f.alone() {
		work.Go(s.keep)
	}
	for {
		if err := s.fetch(); err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			return err
		}
	}
}

// session is the work of a fetcher while it holds the lease and is connected.
type session struct {
	*fetcher
	ctx    context.Context
	cancel context.CancelCauseFunc // ends the session with a cause
	lanes  *lanes
	free   chan struct{} // a token for each delivery that is not dealt with

	mu   sync.Mutex
	held map[string]*time.Timer // keys with pending events, and when they go on
}

// keep renews the lease until the session ends.
func (s *session) keep() {
	for pause(s.ctx, s.settings.LeaseTTL/6) {
		if err := s.hold.keep(s.ctx); err != nil {
			s.cancel(err)
			return
		}
	}
}

// fetch takes a batch from the broker and queues it.
func (s *session) fetch() error {
	n, err := s.reserve()
	if err != nil {
		return err
	}
	batch, err := s.receiver.Receive(s.ctx, n)
	for range n - len(batch) {
		<-s.free
	}
	for _, d := range batch {
		s.dispatch(d)
	}
	return err
}

// reserve waits for room for one delivery and takes what room there is.
func (s *session) reserve() (int, error) {
	select {
	case s.free <- struct{}{}:
	case <-s.ctx.Done():
		return 0, context.Cause(s.ctx)
	}
	for n := 1; ; n++ {
		if n == fetchAhead/2 {
			return n, nil
		}
		select {
		case s.free <- struct{}{}:
		default:
			return n, nil
		}
	}
}

// dispatch queues a delivery behind the others of its key.
func (s *session) dispatch(d broker.Delivery) {
	meta, err := decodeHeader(d.Header)
	s.lanes.add(meta.Key, func() {
		s.deliver(incoming{message: d.Message, meta: meta, malformed: err, ack: d.Ack})
		<-s.free
	})
}

// wait keeps a key waiting for d and then goes on with its pending events.
func (s *session) wait(key string, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.held[key]; t != nil {
		t.Stop()
	}
	s.held[key] = time.AfterFunc(d, func() {
		s.lanes.add(key, func() { s.retry(key) })
	})
}

// waits reports whether events of the key are pending.
func (s *session) waits(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held[key] != nil
}

// goOn says that no event of the key is pending any more.
func (s *session) goOn(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.held, key)
}

// stop ends the lanes and the timers.
func (s *session) stop() {
	s.lanes.stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.held {
		t.Stop()
	}
}
