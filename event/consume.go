package event

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/store"
)

// ConsumeOption varies one consumer.
type ConsumeOption interface{ consume(*consumer) }

type consumeOption func(*consumer)

func (f consumeOption) consume(c *consumer) { f(c) }

// Named tells a second consumer of one message in one service from the first.
// The name is part of the durable position: a new name starts anew.
func Named(name string) ConsumeOption {
	return consumeOption(func(c *consumer) { c.name = name })
}

// FromNow makes a new consumer pass over what was published before it first
// started. Without it, it begins with the oldest event that the broker keeps.
func FromNow() ConsumeOption {
	return consumeOption(func(c *consumer) { c.from = broker.FromNow })
}

// MaxAttempts is how often an event is tried before it becomes a dead letter
// and its key goes on. Default: 10.
func MaxAttempts(n int) ConsumeOption {
	return consumeOption(func(c *consumer) { c.attempts = n })
}

// Backoff sets the delays between attempts: they grow from least to most,
// doubling, with jitter. Default: 200 ms to 1 min.
func Backoff(least, most time.Duration) ConsumeOption {
	return consumeOption(func(c *consumer) { c.backoff = backoff{least, most} })
}

// Concurrency is how many events of different keys are handled at once.
// Default: 64. They share commits, so more is faster than one by one.
func Concurrency(n int) ConsumeOption {
	return consumeOption(func(c *consumer) { c.concurrency = n })
}

// Timeout bounds one attempt. Default: 30 s.
func Timeout(d time.Duration) ConsumeOption {
	return consumeOption(func(c *consumer) { c.timeout = d })
}

// consumer is a declared consumer.
type consumer struct {
	contract
	name        string
	durable     string
	from        broker.Start
	attempts    int
	backoff     backoff
	concurrency int
	timeout     time.Duration
	slots       chan struct{} // a token for each event that is being handled
	// handle decodes a body, which may fail with errUndecodable, and hands it
	// to the function of the service.
	handle func(ctx context.Context, tx *store.Tx, body []byte) error
}

// Consume declares that the service handles events of type M with fn.
//
// fn runs in the transaction that also remembers the event, so its effect
// happens once however often the event is delivered. Like every transaction
// function it may be run more than once, and it changes nothing but the
// database. Its context belongs to no caller: it carries the trace of the
// publisher and the [Meta] of the event. Events of one key come in order, those
// of different keys at the same time.
//
// When fn fails or panics, the event is tried again later and the events of
// its key wait; see [MaxAttempts]. A second consumer of one message in a
// service needs [Named].
func Consume[M proto.Message](s *service.Setup, fn func(ctx context.Context, tx *store.Tx, m M) error, opts ...ConsumeOption) {
	ct, err := contractOf[M]()
	if err != nil {
		s.Fail(fmt.Errorf("consumes: %w", err))
		return
	}
	c := &consumer{
		contract:    ct,
		attempts:    10,
		backoff:     backoff{200 * time.Millisecond, time.Minute},
		concurrency: 64,
		timeout:     30 * time.Second,
		handle: func(ctx context.Context, tx *store.Tx, body []byte) error {
			m := ct.make.New().Interface()
			if err := proto.Unmarshal(body, m); err != nil {
				return errUndecodable.Wrap(err)
			}
			return fn(ctx, tx, m.(M))
		},
	}
	for _, o := range opts {
		o.consume(c)
	}
	c.durable = s.Name() + "/" + c.kind
	if c.name != "" {
		c.durable += "/" + c.name
	}
	if err := c.valid(); err != nil {
		s.Fail(fmt.Errorf("consumes %s: %w", c.kind, err))
		return
	}
	runtimeOf(s).consume(c)
}

func (c *consumer) valid() error {
	switch {
	case c.name != "" && !topicForm.MatchString(c.name):
		return fmt.Errorf("name %q: use letters, digits, hyphens and underscores, separated by dots", c.name)
	case c.attempts < 1, c.concurrency < 1, c.timeout <= 0, c.backoff.least <= 0, c.backoff.most < c.backoff.least:
		return fmt.Errorf("attempts, concurrency, timeout and backoff must be positive, and the longest backoff no shorter than the shortest")
	}
	return nil
}

// consume adds a consumer to the service.
func (r *runtime) consume(c *consumer) {
	for _, other := range r.consumers {
		if other.durable == c.durable {
			r.setup.Fail(fmt.Errorf("consumes %s twice: give one consumer a name of its own with event.Named", c.kind))
			return
		}
	}
	c.slots = make(chan struct{}, c.concurrency)
	r.consumers = append(r.consumers, c)
	r.addTopic(c.topic)
	r.setup.Declare(service.Edge{Kind: service.Consumes, Name: c.topic, Message: c.kind})
	r.setup.Worker(service.Worker{Stage: service.Intake, Name: "consume " + c.durable, Run: func(ctx context.Context) error {
		return r.follow(ctx, c)
	}})
}
