package memory

import (
	"context"
	"errors"
	"maps"
	"regexp"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/fault"
)

// connection is one program's way to the server.
type connection struct {
	server *Server
	maxAge time.Duration
	once   sync.Once
	done   chan struct{}
}

var _ broker.Broker = (*connection)(nil)

// maxTopic is the longest name of a topic, in bytes.
const maxTopic = 200

var topicForm = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)

func isTopic(name string) bool { return len(name) <= maxTopic && topicForm.MatchString(name) }

var nameForm = regexp.MustCompile(`^[a-z0-9._-]+$`)

func invalid(format string, args ...any) error {
	return fault.New(codes.InvalidArgument, "BROKER_INVALID", format, args...)
}

func (c *connection) closed() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// Close implements [broker.Broker]. What was stored stays with the server.
func (c *connection) Close() error {
	c.once.Do(func() { close(c.done) })
	return nil
}

// Declare implements [broker.Broker].
func (c *connection) Declare(_ context.Context, topics ...broker.Topic) error {
	if c.closed() {
		return broker.ErrClosed
	}
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	for _, t := range topics {
		if !isTopic(t.Name) || t.Partitions < 1 {
			return invalid("topic %q with %d partitions: a topic has a dotted name and at least one partition", t.Name, t.Partitions)
		}
		if known := c.server.topicOf(t.Name); known.partitions == 0 {
			known.partitions = t.Partitions
		}
	}
	return nil
}

// Publish implements [broker.Broker].
func (c *connection) Publish(ctx context.Context, messages []broker.Message) []error {
	errs := make([]error, len(messages))
	type lane struct {
		topic     string
		partition int
	}
	stuck := map[lane]error{}
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	for i, m := range messages {
		err := stuck[lane{m.Topic, m.Partition}]
		if err == nil {
			err = c.check(ctx, m)
		}
		if err != nil {
			errs[i] = err
			if errors.Is(err, broker.ErrClosed) {
				return allOf(messages, err)
			}
			stuck[lane{m.Topic, m.Partition}] = broker.ErrUnavailable.WithMessage("a message before it was not stored")
			continue
		}
		m.Header = maps.Clone(m.Header)
		m.Body = slices.Clone(m.Body)
		c.server.store(m, c.maxAge)
	}
	c.server.notify()
	if len(stuck) == 0 {
		return nil
	}
	return errs
}

// allOf answers every message with the same error.
func allOf(messages []broker.Message, err error) []error {
	errs := make([]error, len(messages))
	for i := range errs {
		errs[i] = err
	}
	return errs
}

// check says why a message cannot be stored.
func (c *connection) check(ctx context.Context, m broker.Message) error {
	size := len(m.ID) + len(m.Topic) + len(m.Body)
	for name, value := range m.Header {
		if !nameForm.MatchString(name) {
			return invalid("header %q of message %s: a name is of lower case letters, digits, -, _ and dots", name, m.ID)
		}
		size += len(name) + len(value)
	}
	switch {
	case c.closed():
		return broker.ErrClosed
	case ctx.Err() != nil:
		return broker.ErrUnavailable.Wrap(ctx.Err())
	case m.ID == "":
		return invalid("a message has no id")
	case !isTopic(m.Topic) || m.Partition < 0:
		return invalid("message %s: there is no topic %q with a partition %d", m.ID, m.Topic, m.Partition)
	case size > maxMessageBytes:
		return broker.ErrTooLarge.WithMessage("message %s of %d bytes is over the limit of %d", m.ID, size, maxMessageBytes)
	}
	return nil
}

// Subscribe implements [broker.Broker].
func (c *connection) Subscribe(ctx context.Context, s broker.Subscription) (broker.Receiver, error) {
	if c.closed() {
		return nil, broker.ErrClosed
	}
	if err := checkSubscription(s); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, broker.ErrUnavailable.Wrap(err)
	}
	if s.MaxInFlight <= 0 {
		s.MaxInFlight = defaultInFlight
	}
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	t := c.server.topicOf(s.Topic)
	r := &receiver{connection: c, topic: t, position: t.positionOf(s), limit: s.MaxInFlight, done: make(chan struct{})}
	r.takeOver()
	return r, nil
}

func checkSubscription(s broker.Subscription) error {
	switch {
	case s.Consumer == "":
		return invalid("a subscription to %s names no consumer", s.Topic)
	case !isTopic(s.Topic):
		return invalid("consumer %s: %q is no topic", s.Consumer, s.Topic)
	case len(s.Partitions) == 0:
		return invalid("consumer %s of %s: a subscription is to at least one partition", s.Consumer, s.Topic)
	}
	seen := map[int]bool{}
	for _, p := range s.Partitions {
		if p < 0 || seen[p] {
			return invalid("consumer %s of %s: partition %d is not one, or named twice", s.Consumer, s.Topic, p)
		}
		seen[p] = true
	}
	return nil
}

// Probe implements [broker.Broker].
func (c *connection) Probe(context.Context) error {
	if c.closed() {
		return broker.ErrClosed
	}
	return nil
}

// MaxMessageBytes implements [broker.Broker].
func (c *connection) MaxMessageBytes() int { return maxMessageBytes }
