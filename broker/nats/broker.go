package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/argosy-go/argosy/broker"
)

const (
	streamName   = "ARGOSY"
	probeStream  = "ARGOSY_PROBE"
	prefix       = "argosy.ev."
	probeSubject = "argosy.probe"
	// dedupe is how long the server knows the ids of messages. What is sent
	// again later is told apart by the inbox.
	dedupe = 2 * time.Minute
	// headerRoom is what headers of the protocol take of the server's limit.
	headerRoom     = 4 << 10
	defaultMaxAge  = 7 * 24 * time.Hour
	reconnectPause = 200 * time.Millisecond
)

// Opener connects to a NATS server or cluster with JetStream: the URL is
// nats://host:port, several separated by commas.
type Opener struct{}

// Open implements broker.Opener.
func (Opener) Open(ctx context.Context, o broker.OpenOptions) (broker.Broker, error) {
	nc, err := nats.Connect(o.URL, options(o)...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", o.URL, err)
	}
	b, err := New(ctx, nc, o)
	if err != nil {
		nc.Close()
		return nil, err
	}
	b.owned = true
	return b, nil
}

// options are those of a connection that never gives up.
func options(o broker.OpenOptions) []nats.Option {
	return []nats.Option{
		nats.Name(o.Name), nats.MaxReconnects(-1), nats.ReconnectWait(reconnectPause), nats.RetryOnFailedConnect(false),
	}
}

// Broker is a connection to JetStream. Safe for concurrent use.
type Broker struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	log     *slog.Logger
	maxAge  time.Duration
	gather  chan *request
	closing context.Context
	close   context.CancelFunc
	done    chan struct{}
	owned   bool
}

// New returns a broker over a connection, which the caller keeps and closes
// after the broker. It makes the stream when there is none.
func New(ctx context.Context, nc *nats.Conn, o broker.OpenOptions) (*Broker, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	b := &Broker{nc: nc, js: js, log: o.Log, maxAge: o.MaxAge, gather: make(chan *request), done: make(chan struct{})}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	if b.maxAge == 0 {
		b.maxAge = defaultMaxAge
	}
	if err := b.makeStreams(ctx); err != nil {
		return nil, fmt.Errorf("make the stream: %w", err)
	}
	b.closing, b.close = context.WithCancel(context.Background())
	go b.publisher()
	return b, nil
}

func (b *Broker) makeStreams(ctx context.Context) error {
	_, err := b.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: streamName, Subjects: []string{prefix + ">"}, Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy,
		Discard: jetstream.DiscardNew, MaxAge: b.maxAge, Duplicates: dedupe, AllowAtomicPublish: true, AllowDirect: true,
	})
	if err != nil {
		return unavailable(err)
	}
	_, err = b.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: probeStream, Subjects: []string{probeSubject}, Storage: jetstream.FileStorage, MaxMsgs: 1, Discard: jetstream.DiscardOld,
	})
	return unavailable(err)
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
			errs = append(errs, fmt.Errorf("topic %s: it needs at least one partition", t.Name))
		}
	}
	return errors.Join(errs...)
}

// checkTopic refuses names that a subject cannot hold.
func checkTopic(name string) error {
	if name == "" || len(name) > 255 || strings.ContainsAny(name, " \t\r\n*>") {
		return fmt.Errorf("topic %q: use dotted words of letters, digits, _ and -, at most 255 bytes", name)
	}
	for token := range strings.SplitSeq(name, ".") {
		if token == "" {
			return fmt.Errorf("topic %q: there is an empty word between its dots", name)
		}
	}
	return nil
}

// subject returns where messages of a partition are. The last word is always
// the partition, so that no two partitions of any topics share a subject.
func subject(topic string, partition int) string {
	return fmt.Sprintf("%s%s.%d", prefix, topic, partition)
}

// Probe implements broker.Broker: it stores a message, in a stream of its own
// that keeps one.
func (b *Broker) Probe(ctx context.Context) error {
	_, err := b.js.Publish(ctx, probeSubject, nil)
	return unavailable(err)
}

// MaxMessageBytes implements broker.Broker.
func (b *Broker) MaxMessageBytes() int { return max(int(b.nc.MaxPayload())-headerRoom, 0) }

// Close implements broker.Broker. Publications under way end with ErrClosed.
func (b *Broker) Close() error {
	b.close()
	<-b.done
	if b.owned {
		b.nc.Close()
	}
	return nil
}

// unavailable makes an error of the client one of the contract.
func unavailable(err error) error {
	if err == nil {
		return nil
	}
	return broker.ErrUnavailable.Wrap(err)
}
