package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/argosy-go/argosy/broker"
)

const (
	reconnectPause = 200 * time.Millisecond

	// A connection that says nothing for so many pings is broken: one that is
	// cut silently would else be found by the next thing that is sent on it, or
	// after the four minutes of the client's own default.
	pingInterval = 10 * time.Second
	pingsMissed  = 2
	// flushWithin bounds how long Close waits for the server to read the last acks.
	flushWithin = time.Second
)

// Opener connects to a NATS server or cluster with JetStream: the URL is
// nats://host:port, several separated by commas, and may end in ?replicas=N:
// how many servers of a cluster keep each message, from 1 to 5. A stream that
// exists is brought to that number. Where nothing is said, a stream is made
// with 3 replicas in a cluster and with 1 elsewhere, and one that exists keeps
// what it has.
type Opener struct{}

// Open implements broker.Opener.
func (Opener) Open(ctx context.Context, o broker.OpenOptions) (broker.Broker, error) {
	t, err := parseTarget(o.URL)
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(t.servers, options(o)...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", redact(t.servers), unavailable(err))
	}
	b, err := newBroker(ctx, nc, o, t.replicas)
	if err != nil {
		nc.Close()
		return nil, err
	}
	b.owned = true
	return b, nil
}

// options are those of a connection that never gives up, and that keeps nothing
// to send while it is away: what cannot be sent now has failed, and is sent
// again by whom it belongs to.
func options(o broker.OpenOptions) []nats.Option {
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return []nats.Option{
		nats.Name(o.Name), nats.MaxReconnects(-1), nats.ReconnectWait(reconnectPause), nats.ReconnectBufSize(-1),
		nats.PingInterval(pingInterval), nats.MaxPingsOutstanding(pingsMissed),
		nats.DisconnectErrHandler(func(nc *nats.Conn, err error) {
			if !nc.IsClosed() {
				log.Warn("the connection to the broker is lost; it is tried again", "error", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			log.Info("the connection to the broker is back", "url", nc.ConnectedUrlRedacted())
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			log.Warn("the broker's client reports an error", "error", err)
		}),
	}
}

// Broker is a connection to JetStream. Safe for concurrent use.
type Broker struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	log     *slog.Logger
	maxAge  time.Duration
	owned   bool
	replies *replies
	gather  chan *request
	closing context.Context
	close   context.CancelFunc
	work    sync.WaitGroup
	// atomicPublish is false when the stream takes no batches.
	atomicPublish bool

	mu        sync.Mutex
	receivers map[*receiver]struct{} // nil: closed
}

// New returns a broker over a connection, which the caller keeps and closes
// after the broker. It makes the stream when there is none.
func New(ctx context.Context, nc *nats.Conn, o broker.OpenOptions) (*Broker, error) {
	return newBroker(ctx, nc, o, 0)
}

func newBroker(ctx context.Context, nc *nats.Conn, o broker.OpenOptions, replicas int) (*Broker, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	b := &Broker{
		nc: nc, js: js, log: o.Log, maxAge: o.MaxAge,
		gather: make(chan *request), receivers: map[*receiver]struct{}{},
	}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	if b.maxAge == 0 {
		b.maxAge = defaultMaxAge
	}
	if err := b.makeStreams(ctx, replicas); err != nil {
		return nil, err
	}
	if b.replies, err = newReplies(nc); err != nil {
		return nil, unavailable(err)
	}
	b.closing, b.close = context.WithCancel(context.Background())
	b.work.Go(b.publisher)
	return b, nil
}

// Declare implements broker.Broker. The stream takes every topic: what is left
// is to refuse names that make no subject.
func (b *Broker) Declare(_ context.Context, topics ...broker.Topic) error {
	var errs []error
	for _, t := range topics {
		if err := checkTopic(t.Name); err != nil {
			errs = append(errs, err)
		}
		if t.Partitions < 1 {
			errs = append(errs, errInvalid.WithMessage("topic %s: it needs at least one partition", t.Name))
		}
	}
	return errors.Join(errs...)
}

// Probe implements broker.Broker: it stores a message, in a stream of its own
// that keeps one.
func (b *Broker) Probe(ctx context.Context) error {
	if b.closing.Err() != nil {
		return broker.ErrClosed
	}
	_, err := b.js.Publish(ctx, probeSubject, nil)
	return unavailable(err)
}

// ProbeEvents stores a message where the events are, which no consumer reads,
// and deletes it again. A server may store in one stream and not in another.
func (b *Broker) ProbeEvents(ctx context.Context) error {
	if b.closing.Err() != nil {
		return broker.ErrClosed
	}
	ack, err := b.js.Publish(ctx, prefix+"probe", nil)
	if err != nil {
		return unavailable(err)
	}
	events, err := b.js.Stream(ctx, ack.Stream)
	if err != nil {
		return unavailable(err)
	}
	return unavailable(events.DeleteMsg(ctx, ack.Sequence))
}

// MaxMessageBytes implements broker.Broker. It is the limit of the server that
// the connection leads to.
func (b *Broker) MaxMessageBytes() int { return max(int(b.nc.MaxPayload())-protocolRoom, 0) }

// Close implements broker.Broker. Publications under way end with ErrClosed:
// they may have been stored. It is safe to call more than once.
func (b *Broker) Close() error {
	b.mu.Lock()
	receivers := b.receivers
	b.receivers = nil
	b.mu.Unlock()
	b.close()
	for r := range receivers {
		r.stop()
	}
	b.work.Wait()
	if receivers == nil {
		return nil
	}
	b.replies.close(b.nc)
	if b.nc.IsConnected() {
		_ = b.nc.FlushTimeout(flushWithin) // acks that do not get there mean redeliveries
	}
	if b.owned {
		b.nc.Close()
	}
	return nil
}

// unavailable makes an error of the client one of the contract.
func unavailable(err error) error {
	if err == nil || errors.Is(err, broker.ErrUnavailable) || errors.Is(err, broker.ErrClosed) {
		return err
	}
	return broker.ErrUnavailable.Wrap(err)
}
