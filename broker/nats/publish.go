package nats

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/fault"
)

// errInvalid: the message, or the topic, is none that a broker can carry.
var errInvalid = fault.New(codes.InvalidArgument, "INVALID_MESSAGE", "the message is not valid")

// errBehind is the error of a message that was not sent, because one before it
// in its partition failed.
var errBehind = broker.ErrUnavailable.WithMessage("not sent: a message before it in its partition failed").Refused()

// request is one call of Publish. The publisher owns the errors behind items
// until it closes done.
type request struct {
	items []item
	done  chan struct{}
}

// Publish implements broker.Broker. A message that fails before it is sent has
// an error of its own (ErrTooLarge, or INVALID_ARGUMENT); every other error is
// ErrUnavailable or ErrClosed.
func (b *Broker) Publish(ctx context.Context, messages []broker.Message) []error {
	if len(messages) == 0 {
		return nil
	}
	errs := make([]error, len(messages))
	r := &request{items: b.encodeAll(messages, errs), done: make(chan struct{})}
	if err := b.hand(ctx, r); err != nil {
		return all(len(messages), err) // the publisher may still write to errs
	}
	if errors.Join(errs...) == nil {
		return nil
	}
	return errs
}

// hand gives the request to the publisher and waits until it is dealt with. A
// caller that goes away leaves its messages on their way: it sends them again.
func (b *Broker) hand(ctx context.Context, r *request) error {
	if len(r.items) == 0 {
		return nil
	}
	if b.closing.Err() != nil {
		return broker.ErrClosed
	}
	if ctx.Err() != nil {
		return unavailable(context.Cause(ctx))
	}
	select {
	case b.gather <- r:
	case <-ctx.Done():
		return unavailable(context.Cause(ctx))
	case <-b.closing.Done():
		return broker.ErrClosed
	}
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return unavailable(context.Cause(ctx))
	}
}

func all(n int, err error) []error {
	errs := make([]error, n)
	for i := range errs {
		errs[i] = err
	}
	return errs
}

// publisher sends what callers hand over. While one batch is being stored, the
// next one gathers: one fsync serves all callers that wait.
func (b *Broker) publisher() {
	for {
		select {
		case r := <-b.gather:
			group := b.more(r)
			b.store(group)
			for _, r := range group {
				close(r.done)
			}
		case <-b.closing.Done():
			return
		}
	}
}

// more adds the requests that wait to the first one, until a batch is full.
func (b *Broker) more(first *request) []*request {
	group, n := []*request{first}, len(first.items)
	for n < maxBatch {
		select {
		case r := <-b.gather:
			group = append(group, r)
			n += len(r.items)
		default:
			return group
		}
	}
	return group
}
