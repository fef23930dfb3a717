package event

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/store"
)

const (
	fetchAhead = 512 // deliveries taken from the broker and not yet dealt with
	fetchLeast = 50 * time.Millisecond
	fetchMost  = 5 * time.Second
)

// follow takes the events of a consumer from the broker and handles them, in
// those partitions that are this replica's, until ctx ends.
func (r *runtime) follow(ctx context.Context, c *consumer) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range r.spans() {
		f := &fetcher{runtime: r, consumer: c, span: s}
		g.Go(func() error { return r.roster.work(ctx, f.group(), s, f.run) })
	}
	return g.Wait()
}

// fetcher takes the events of one consumer in some partitions from the broker.
type fetcher struct {
	*runtime
	*consumer
	span span
}

// group is the name of the work of a consumer.
func (c *consumer) group() string { return "event/" + c.durable }

// subscribe opens the subscription.
func (f *fetcher) subscribe(ctx context.Context) (broker.Receiver, error) {
	if err := f.declare(ctx); err != nil {
		return nil, err
	}
	receiver, err := f.setup.Broker().Subscribe(ctx, f.subscription())
	if err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", f.topic, err)
	}
	return receiver, nil
}

func (f *fetcher) subscription() broker.Subscription {
	s := broker.Subscription{Consumer: f.durable, Topic: f.topic, Start: f.from, MaxInFlight: 2 * fetchAhead}
	for p := f.span.first; p <= f.span.last; p++ {
		s.Partitions = append(s.Partitions, p)
	}
	return s
}

// run fetches and handles under the lease until ctx ends or the lease is lost.
func (f *fetcher) run(ctx context.Context, h *hold) error {
	failures := 0
	for ctx.Err() == nil {
		begun := f.setup.Now()
		err := f.serve(ctx, h)
		switch {
		case lost(err):
			return err
		case ctx.Err() != nil, errors.Is(err, errRewind):
			continue
		case f.setup.Now().Sub(begun) > fetchMost:
			failures = 0
		}
		if failures++; failures == 1 {
			f.setup.Log().Warn("events cannot be fetched and wait", "consumer", f.durable, "error", err)
		}
		pause(ctx, backoff{fetchLeast, fetchMost}.after(failures))
	}
	return nil
}

// serve handles deliveries until ctx ends, the lease is lost or the broker
// fails; what was taken from the broker and not begun is delivered again.
func (f *fetcher) serve(ctx context.Context, h *hold) (err error) {
	if err := h.confirm(ctx); err != nil {
		return err
	}
	if err := f.rewind(ctx, h); err != nil {
		return err
	}
	receiver, err := f.subscribe(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(store.Background(ctx))
	s := &session{
		fetcher:  f,
		hold:     h,
		receiver: receiver,
		ctx:      ctx,
		cancel:   cancel,
		lanes:    newLanes(f.slots),
		free:     make(chan struct{}, fetchAhead),
		held:     map[string]*wait{},
	}
	var work sync.WaitGroup
	defer func() {
		cancel(nil)
		work.Wait()
		s.stop()
		if cerr := receiver.Close(); err == nil {
			err = cerr
		}
	}()
	if err := s.recover(); err != nil {
		return err
	}
	work.Go(s.listen)
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
	hold     *hold
	receiver broker.Receiver
	ctx      context.Context
	cancel   context.CancelCauseFunc // ends the session with a cause
	lanes    *lanes
	free     chan struct{} // a token for each delivery that is not dealt with

	mu   sync.Mutex
	held map[string]*wait // the keys with pending events
}

// wait is when a key with pending events goes on.
type wait struct {
	timer *time.Timer
	due   time.Time
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
	s.schedule(key, d)
}

// sooner is wait, unless the key goes on as soon anyway.
func (s *session) sooner(key string, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.held[key]; w != nil && !w.due.After(time.Now().Add(d)) {
		return
	}
	s.schedule(key, d)
}

// schedule is wait for who has the lock.
func (s *session) schedule(key string, d time.Duration) {
	if w := s.held[key]; w != nil {
		w.timer.Stop()
	}
	s.held[key] = &wait{due: time.Now().Add(d), timer: time.AfterFunc(d, func() {
		s.lanes.add(key, func() { s.retry(key) })
	})}
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
	for _, w := range s.held {
		w.timer.Stop()
	}
}
