package argosytest

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/store"
)

// stores opens the stores of a fleet and remembers them.
type stores struct {
	opener store.Opener
	life   *life

	mu   sync.Mutex
	open map[string]store.Engine
}

// Open implements [store.Opener].
func (s *stores) Open(ctx context.Context, o store.OpenOptions) (store.Engine, error) {
	e, err := s.opener.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[o.Service] = e
	if s.life == nil {
		return e, nil
	}
	return &mortalStore{Engine: e, life: s.life, service: o.Service}, nil
}

// of returns the store of a service as it is, without anything that fails.
func (s *stores) of(service string) store.Engine {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[service]
}

func (s *stores) services() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.open))
}

// mortalStore is a store whose process can die: from then on it does nothing.
type mortalStore struct {
	store.Engine
	life    *life
	service string

	mu    sync.Mutex
	until time.Time // it cannot be reached before
}

// errDark: the store cannot be reached for a moment. Nothing was written.
var errDark = fault.New(codes.Unavailable, "STORE_UNREACHABLE", "the store cannot be reached for a moment").Refused()

func (m *mortalStore) isDark() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Now().Before(m.until) && !m.life.lit()
}

func (m *mortalStore) darken() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.until = time.Now().Add(dark)
}

// Write implements [store.Engine].
func (m *mortalStore) Write(ctx context.Context, fn func(store.Conn) error) error {
	if m.isDark() {
		return errDark
	}
	p := m.life.reach(m.service, "commit "+caller())
	if m.life.ends(p, Before) {
		return store.ErrClosed
	}
	if err := m.Engine.Write(ctx, fn); err != nil {
		return err
	}
	if m.life.ends(p, After) {
		return store.ErrUnknown
	}
	if m.life.unheard(p) {
		m.darken()
		return store.ErrUnknown
	}
	return nil
}

// Read implements [store.Engine].
func (m *mortalStore) Read(ctx context.Context, fn func(store.Querier) error) error {
	if m.life.ended() {
		return store.ErrClosed
	}
	if m.isDark() {
		return errDark
	}
	return m.Engine.Read(ctx, fn)
}

// Notify implements [store.Notifier] where the store does.
func (m *mortalStore) Notify(topic string) {
	if n, ok := m.Engine.(store.Notifier); ok && !m.life.ended() {
		n.Notify(topic)
	}
}

// Subscribe implements [store.Notifier] where the store does.
func (m *mortalStore) Subscribe(f func(topic string)) {
	if n, ok := m.Engine.(store.Notifier); ok {
		n.Subscribe(f)
	}
}

// mortalBrokers opens brokers whose process can die.
type mortalBrokers struct {
	broker.Opener
	life *life
}

// Open implements [broker.Opener].
func (m mortalBrokers) Open(ctx context.Context, o broker.OpenOptions) (broker.Broker, error) {
	b, err := m.Opener.Open(ctx, o)
	if err != nil || m.life == nil {
		return b, err
	}
	return &mortalBroker{b, m.life}, nil
}

type mortalBroker struct {
	broker.Broker
	life *life
}

// InProcess says what the broker itself says: see [broker.Broker].
func (m *mortalBroker) InProcess() bool {
	b, ok := m.Broker.(interface{ InProcess() bool })
	return ok && b.InProcess()
}

// Declare implements [broker.Broker].
func (m *mortalBroker) Declare(ctx context.Context, topics ...broker.Topic) error {
	if m.life.ended() {
		return broker.ErrClosed
	}
	return m.Broker.Declare(ctx, topics...)
}

// Publish implements [broker.Broker]. A process may die before its messages
// are stored, after that, and when half of them are.
func (m *mortalBroker) Publish(ctx context.Context, messages []broker.Message) []error {
	if len(messages) == 0 {
		return m.Broker.Publish(ctx, messages)
	}
	service := strings.TrimPrefix(messages[0].Header["ce-source"], "/")
	p := m.life.reach(service, "publish "+messages[0].Topic)
	if m.life.ends(p, Before) {
		return closedAll(messages)
	}
	if len(messages) > 1 && m.life.ends(p, Midway) {
		m.Broker.Publish(ctx, messages[:len(messages)/2])
		return closedAll(messages)
	}
	errs := m.Broker.Publish(ctx, messages)
	if m.life.ends(p, After) {
		return closedAll(messages)
	}
	if m.life.unheard(p) {
		return unavailable(messages)
	}
	return errs
}

func closedAll(messages []broker.Message) []error {
	errs := make([]error, len(messages))
	for i := range errs {
		errs[i] = broker.ErrClosed
	}
	return errs
}

// Subscribe implements [broker.Broker].
func (m *mortalBroker) Subscribe(ctx context.Context, s broker.Subscription) (broker.Receiver, error) {
	if m.life.ended() {
		return nil, broker.ErrClosed
	}
	r, err := m.Broker.Subscribe(ctx, s)
	if err != nil {
		return nil, err
	}
	return &mortalReceiver{r, m.life, s.Consumer}, nil
}

type mortalReceiver struct {
	broker.Receiver
	life     *life
	consumer string
}

// Receive implements [broker.Receiver].
func (m *mortalReceiver) Receive(ctx context.Context, most int) ([]broker.Delivery, error) {
	ds, err := m.Receiver.Receive(ctx, most)
	if m.life.ended() {
		return nil, broker.ErrClosed
	}
	service, _, _ := strings.Cut(m.consumer, "/")
	for i := range ds {
		ack := ds[i].Ack
		ds[i].Ack = func() error {
			p := m.life.reach(service, "ack "+m.consumer)
			if m.life.ends(p, Before) {
				return broker.ErrClosed
			}
			err := ack()
			if m.life.ends(p, After) {
				return broker.ErrClosed
			}
			if m.life.unheard(p) {
				return broker.ErrUnavailable
			}
			return err
		}
	}
	return ds, err
}
