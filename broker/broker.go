package broker

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
)

// The errors of a broker. They are [fault.Error]s: compare with errors.Is.
var (
	// ErrUnavailable: the broker cannot be reached or did not answer. What was
	// published may or may not have been stored: publish it again.
	ErrUnavailable = fault.New(codes.Unavailable, "BROKER_UNAVAILABLE", "the broker is not available")
	// ErrTooLarge: a message is over MaxMessageBytes and will never be taken.
	ErrTooLarge = fault.New(codes.InvalidArgument, "EVENT_TOO_LARGE", "the message is larger than the broker accepts")
	// ErrClosed: the broker or the subscription has been closed. What was being
	// published may or may not have been stored.
	ErrClosed = fault.New(codes.Unavailable, "BROKER_CLOSED", "the broker connection is closed")
)

// Message is what travels. A Message that was handed to a broker or received
// from one is not changed any more by anybody.
type Message struct {
	// ID is unique among all messages of all topics; publishing the same ID
	// again within the broker's dedupe window stores nothing and succeeds.
	ID string
	// Topic is a dotted name of letters, digits, _ and -, as in
	// "argosy.shop.order.v1.OrderPlaced".
	Topic string
	// Partition is in [0, Partitions) of the topic. The publisher chooses it
	// by the key; order is kept within a partition.
	Partition int
	// Header holds text: names are of lower case letters, digits, -, _ and dots,
	// as in "ce-id". Values are any UTF-8.
	Header map[string]string
	// Body is the payload.
	Body []byte
}

// Topic is a topic as a publisher or consumer needs it.
type Topic struct {
	Name string
	// Partitions is fixed when a topic is first declared.
	Partitions int
}

// Start says where a durable subscription begins when it is first made. It has
// no effect on one that exists.
type Start int

// The start positions.
const (
	// FromBeginning delivers everything that the broker still keeps.
	FromBeginning Start = iota
	// FromNow delivers what is published after the subscription was made.
	FromNow
)

// Subscription names a durable position in the topic.
type Subscription struct {
	// Consumer is the durable name, as in "inventory/argosy.shop.order.v1.OrderPlaced".
	// A position belongs to a consumer and its set of partitions.
	Consumer string
	Topic    string
	// Partitions are the ones to fetch. The caller holds them alone (by a
	// lease of its own: a broker is no mutual exclusion).
	Partitions []int
	Start      Start
	// MaxInFlight bounds what is delivered and not yet acknowledged. Zero: 1024.
	MaxInFlight int
}

// Delivery is a message with its acknowledgement.
type Delivery struct {
	Message
	// Attempt counts deliveries of this message to this consumer, from 1; 0
	// where the broker does not tell. It may begin again with a new receiver.
	Attempt int
	// Time is when the broker stored the message.
	Time time.Time
	// Ack says that the message needs no more delivery. It may return before
	// the broker has stored that; a lost ack means a redelivery. Safe to call
	// from any goroutine, once.
	Ack func() error
	// Nack asks for a redelivery after d.
	Nack func(d time.Duration) error
}

// Receiver delivers the messages of a subscription.
//
//  1. Receive returns at least one delivery, at most max, or an error. It
//     blocks until there is one or ctx ends. A message whose ack did not come
//     before the broker's patience (30 s) ended is delivered again.
//  2. First deliveries of a partition come in the order of publication.
//     Redeliveries come at any time: order is the inbox's work, not the broker's.
//     But a new receiver begins with what was delivered to one before it and
//     not acknowledged, in the order of publication, and at once: the inbox of
//     a restarted process knows nothing of what was under way.
//  3. Close stops delivery. Acks of what was handed out before still count.
//  4. Receive is called by one goroutine at a time.
type Receiver interface {
	Receive(ctx context.Context, max int) ([]Delivery, error)
	Close() error
}

// Broker is an open connection: the contract of a broker adapter. Package
// brokertest holds the suite that every adapter passes.
//
//  1. Publish stores messages durably: a nil error at index i means that message
//     i is on disk (on a quorum, where the broker has one). A message that was
//     stored before, under the same ID, counts as stored. Messages of one
//     partition are stored in the order given; when message i fails, no
//     later message of its partition in that call is newly stored.
//  2. The result has one entry a message; it is nil when all succeeded. An error
//     is ErrUnavailable or ErrClosed (the message may or may not be stored: send
//     it again), or says why the message will never be taken (ErrTooLarge, or
//     one of the code InvalidArgument).
//  3. Declare is idempotent and safe to call from many processes at once.
//  4. Probe publishes and confirms a real message. Readiness asks it of a
//     broker that is part of the process, which says so by a method
//     InProcess() bool, and of no other: what is shared must not take every
//     replica out.
//  5. All methods are safe for concurrent use. Close ends what is under way.
type Broker interface {
	Declare(ctx context.Context, topics ...Topic) error
	Publish(ctx context.Context, messages []Message) []error
	Subscribe(ctx context.Context, s Subscription) (Receiver, error)
	Probe(ctx context.Context) error
	// MaxMessageBytes is the largest message, headers included.
	MaxMessageBytes() int
	Close() error
}

// Opener connects to a broker, or starts one in the process.
type Opener interface {
	Open(ctx context.Context, o OpenOptions) (Broker, error)
}

// OpenOptions is what an [Opener] needs to know.
type OpenOptions struct {
	// URL is the setting that chose the adapter, as in "nats://127.0.0.1:4222".
	URL string
	// Dir is the data directory of the fleet, for a broker that runs in the process.
	Dir string
	// Name is shown to the broker, for its own lists of connections.
	Name string
	// MaxAge is how long messages are kept. Zero: 7 days.
	MaxAge time.Duration
	// Log receives what an operator should know. Nil: discarded.
	Log *slog.Logger
}
