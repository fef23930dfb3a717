package nats

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/argosy-go/argosy/broker"
)

const (
	// maxBatch is the server's limit of an atomic batch.
	maxBatch = 1000
	// maxBatchBytes keeps a batch well under what the server buffers.
	maxBatchBytes = 8 << 20
	// ackWait is how long the server may take to store a batch.
	ackWait = 10 * time.Second
	// window is how many single publications may wait for their acks.
	window = 256

	batchHeader  = "Nats-Batch-Id"
	seqHeader    = "Nats-Batch-Sequence"
	commitHeader = "Nats-Batch-Commit"
)

// request is one call of Publish.
type request struct {
	messages []broker.Message
	errs     []error // one a message, filled before done is closed
	done     chan struct{}
}

// Publish implements broker.Broker.
func (b *Broker) Publish(ctx context.Context, messages []broker.Message) []error {
	if len(messages) == 0 {
		return nil
	}
	r := &request{messages: messages, errs: make([]error, len(messages)), done: make(chan struct{})}
	select {
	case b.gather <- r:
	case <-ctx.Done():
		return all(len(messages), unavailable(context.Cause(ctx)))
	case <-b.closing.Done():
		return all(len(messages), broker.ErrClosed)
	}
	select {
	case <-r.done:
	case <-ctx.Done(): // what is under way may still be stored; the caller sends it again
		return all(len(messages), unavailable(context.Cause(ctx)))
	}
	if errors.Join(r.errs...) == nil {
		return nil
	}
	return r.errs
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
	defer close(b.done)
	for {
		select {
		case r := <-b.gather:
			b.store(b.more(r))
		case <-b.closing.Done():
			return
		}
	}
}

// more adds the requests that wait to the first one, up to a batch.
func (b *Broker) more(first *request) []*request {
	group, n := []*request{first}, len(first.messages)
	for n < maxBatch {
		select {
		case r := <-b.gather:
			group = append(group, r)
			n += len(r.messages)
		default:
			return group
		}
	}
	return group
}

// item is a message on its way, with the place for its error.
type item struct {
	msg *nats.Msg
	err *error
	at  partition
}

type partition struct {
	topic  string
	number int
}

// store stores the messages of a group of requests and tells the callers.
func (b *Broker) store(group []*request) {
	var items []item
	for _, r := range group {
		for i := range r.messages {
			m := &r.messages[i]
			msg, err := b.encode(m)
			if err != nil {
				r.errs[i] = err
				continue
			}
			items = append(items, item{msg, &r.errs[i], partition{m.Topic, m.Partition}})
		}
	}
	failed := map[partition]error{}
	for len(items) > 0 {
		n := batchSize(items)
		b.storeBatch(items[:n], failed)
		items = items[n:]
	}
	for _, r := range group {
		close(r.done)
	}
}

// batchSize returns how many of the first items make a batch.
func batchSize(items []item) int {
	n, size := 0, 0
	for n < len(items) && n < maxBatch {
		size += items[n].msg.Size()
		if size > maxBatchBytes && n > 0 {
			break
		}
		n++
	}
	return n
}

// storeBatch stores the items at once, or one by one when that is refused. A
// message behind one of its partition that failed is not sent.
func (b *Broker) storeBatch(items []item, failed map[partition]error) {
	if len(items) > 1 && len(failed) == 0 {
		err := b.atomic(items)
		var refused *jetstream.APIError
		switch {
		case err == nil:
			return
		case !errors.As(err, &refused):
			for _, it := range items {
				*it.err = unavailable(err)
				failed[it.at] = *it.err
			}
			return
		}
		b.log.Debug("the server refused a batch; its messages are sent one by one", "messages", len(items), "error", err)
		for _, it := range items {
			it.msg.Header.Del(batchHeader)
			it.msg.Header.Del(seqHeader)
			it.msg.Header.Del(commitHeader)
		}
	}
	b.singly(items, failed)
}

// atomic publishes the items as one atomic batch: all are stored, or none.
func (b *Broker) atomic(items []item) error {
	id := rand.Text()
	for i, it := range items {
		it.msg.Header.Set(batchHeader, id)
		it.msg.Header.Set(seqHeader, strconv.Itoa(i+1))
	}
	last := items[len(items)-1].msg
	last.Header.Set(commitHeader, "1")
	for _, it := range items[:len(items)-1] {
		if err := b.nc.PublishMsg(it.msg); err != nil {
			return err
		}
	}
	reply, err := b.nc.RequestMsg(last, ackWait)
	if err != nil {
		return err
	}
	return readAck(reply.Data)
}

// readAck reads the server's answer to a publication.
func readAck(data []byte) error {
	var ack struct {
		Error  *jetstream.APIError `json:"error"`
		Stream string              `json:"stream"`
	}
	if err := json.Unmarshal(data, &ack); err != nil {
		return fmt.Errorf("the server's ack is not understood: %w", err)
	}
	if ack.Error != nil {
		return ack.Error
	}
	if ack.Stream == "" {
		return errors.New("the server's ack names no stream")
	}
	return nil
}

// singly publishes items one by one, with acks awaited in windows; within a
// partition a message is sent once the one before it is known to be stored.
func (b *Broker) singly(items []item, failed map[partition]error) {
	for len(items) > 0 {
		inFlight := map[partition]bool{}
		var rest []item
		type waiting struct {
			item
			ack jetstream.PubAckFuture
		}
		var acks []waiting
		for _, it := range items {
			switch {
			case failed[it.at] != nil:
				*it.err = failed[it.at]
			case inFlight[it.at] || len(acks) >= window:
				inFlight[it.at] = true // keep the order behind it
				rest = append(rest, it)
			default:
				inFlight[it.at] = true
				ack, err := b.js.PublishMsgAsync(it.msg)
				if err != nil {
					b.fail(it, err, failed)
					continue
				}
				acks = append(acks, waiting{it, ack})
			}
		}
		timeout := time.NewTimer(ackWait)
		for _, w := range acks {
			select {
			case <-w.ack.Ok(): // a duplicate is an Ok too: it was stored before
			case err := <-w.ack.Err():
				b.fail(w.item, err, failed)
			case <-timeout.C:
				timeout.Reset(0)
				b.fail(w.item, context.DeadlineExceeded, failed)
			}
		}
		timeout.Stop()
		items = rest
	}
}

// fail notes why a message was not stored, and that its partition stops there.
func (b *Broker) fail(it item, err error, failed map[partition]error) {
	if errors.Is(err, nats.ErrMaxPayload) {
		*it.err = broker.ErrTooLarge.Wrap(err)
		return
	}
	*it.err = unavailable(err)
	failed[it.at] = *it.err
}

// encode makes a message of the protocol, or says why it cannot be sent.
func (b *Broker) encode(m *broker.Message) (*nats.Msg, error) {
	if m.ID == "" {
		return nil, fmt.Errorf("a message of %s has no id", m.Topic)
	}
	msg := &nats.Msg{Subject: subject(m.Topic, m.Partition), Header: make(nats.Header, len(m.Header)+4), Data: m.Body}
	for name, value := range m.Header {
		msg.Header[name] = []string{escape(value)}
	}
	msg.Header[nats.MsgIdHdr] = []string{m.ID}
	if size := msg.Size(); size > b.MaxMessageBytes() {
		return nil, broker.ErrTooLarge.WithMetadata("bytes", strconv.Itoa(size)).WithMetadata("limit", strconv.Itoa(b.MaxMessageBytes()))
	}
	return msg, nil
}
