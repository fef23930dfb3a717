package memory

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/argosy-go/argosy/broker"
)

const (
	maxMessageBytes = 1 << 20
	defaultInFlight = 1024
	defaultAge      = 7 * 24 * time.Hour
)

// Patience is how long an acknowledgement may take before a message is
// delivered again.
const Patience = 30 * time.Second

// Server holds messages and positions. It is safe for concurrent use, and it
// is a [broker.Opener] whose brokers all reach the same messages.
type Server struct {
	mu      sync.Mutex
	topics  map[string]*topic
	ids     map[string]bool
	changed chan struct{} // closed and replaced at every change
}

// topic is the messages of a topic, in the order in which they were stored.
type topic struct {
	partitions int
	base       int // the number of the first of log
	log        []stored
	positions  map[string]*position
}

type stored struct {
	broker.Message
	at time.Time
}

// NewServer returns an empty server.
func NewServer() *Server {
	return &Server{topics: map[string]*topic{}, ids: map[string]bool{}, changed: make(chan struct{})}
}

// Open connects. The URL and the directory are not looked at.
func (s *Server) Open(_ context.Context, o broker.OpenOptions) (broker.Broker, error) {
	if o.MaxAge <= 0 {
		o.MaxAge = defaultAge
	}
	return &connection{server: s, maxAge: o.MaxAge, done: make(chan struct{})}, nil
}

var _ broker.Opener = (*Server)(nil)

// notify wakes all who wait for a change. Whoever calls it holds mu.
func (s *Server) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// topicOf returns a topic, which need not have been declared. Whoever calls it
// holds mu.
func (s *Server) topicOf(name string) *topic {
	t := s.topics[name]
	if t == nil {
		t = &topic{positions: map[string]*position{}}
		s.topics[name] = t
	}
	return t
}

// Messages returns what the server keeps of a topic, in the order in which it
// was stored.
func (s *Server) Messages(name string) []broker.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topics[name]
	if t == nil {
		return nil
	}
	ms := make([]broker.Message, len(t.log))
	for i, m := range t.log {
		ms[i] = m.Message
	}
	return ms
}

// Unacknowledged returns how many messages of a topic the consumer has still to
// acknowledge, those of partitions that it has not subscribed to included.
func (s *Server) Unacknowledged(topic, consumer string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topics[topic]
	if t == nil {
		return 0
	}
	n := 0
	for i, m := range t.log {
		p := t.positionFor(consumer, m.Partition)
		if p == nil || t.base+i >= p.next || p.flights[t.base+i] != nil {
			n++
		}
	}
	return n
}

// positionFor returns the consumer's position in a partition, or nil.
func (t *topic) positionFor(consumer string, partition int) *position {
	for _, p := range t.positions {
		if p.consumer == consumer && p.wants(partition) {
			return p
		}
	}
	return nil
}

// store adds a message unless it has been stored before.
func (s *Server) store(m broker.Message, maxAge time.Duration) {
	if s.ids[m.ID] {
		return
	}
	s.ids[m.ID] = true
	t := s.topicOf(m.Topic)
	now := time.Now()
	t.log = append(t.log, stored{m, now})
	t.expire(now.Add(-maxAge))
}

// expire forgets messages that were stored before a time.
func (t *topic) expire(before time.Time) {
	n := 0
	for n < len(t.log) && t.log[n].at.Before(before) {
		n++
	}
	if n == 0 {
		return
	}
	t.base += n
	t.log = slices.Clone(t.log[n:])
	for _, p := range t.positions {
		p.next = max(p.next, t.base)
		for number := range p.flights {
			if number < t.base {
				delete(p.flights, number)
			}
		}
	}
}

// position is how far a durable subscription has come.
type position struct {
	consumer   string
	partitions []int // sorted
	next       int   // the number of the first message that was never delivered
	flights    map[int]*flight
	receiver   *receiver // the last one that was opened
}

// flight is a message that was delivered and not acknowledged.
type flight struct {
	attempt int
	due     time.Time // when it is delivered again
}

func (p *position) wants(partition int) bool {
	_, found := slices.BinarySearch(p.partitions, partition)
	return found
}

// positionOf returns the position of a subscription, made when there is none.
func (t *topic) positionOf(s broker.Subscription) *position {
	partitions := slices.Sorted(slices.Values(s.Partitions))
	var key strings.Builder
	key.WriteString(s.Consumer)
	for _, p := range partitions {
		key.WriteByte(0)
		key.WriteString(strconv.Itoa(p))
	}
	p := t.positions[key.String()]
	if p == nil {
		p = &position{consumer: s.Consumer, partitions: partitions, next: t.base, flights: map[int]*flight{}}
		if s.Start == broker.FromNow {
			p.next = t.base + len(t.log)
		}
		t.positions[key.String()] = p
	}
	return p
}
