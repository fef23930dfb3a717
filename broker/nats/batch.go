package nats

import (
	"crypto/rand"
	"errors"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/argosy-go/argosy/broker"
)

const (
	// maxBatch is the server's limit of an atomic batch.
	maxBatch = 1000
	// maxBatchBytes keeps a batch well under what the server buffers.
	maxBatchBytes = 8 << 20
	// window is how many single publications may wait for their acks.
	window = 256

	batchHeader  = "Nats-Batch-Id"
	seqHeader    = "Nats-Batch-Sequence"
	commitHeader = "Nats-Batch-Commit"

	// tooLargeCode is the server's code for a message over the stream's own limit.
	tooLargeCode jetstream.ErrorCode = 10054
)

// errPending is the error of an item that nothing is known about yet; no caller
// sees it.
var errPending = errors.New("pending")

// item is a message on its way, with the place for its error.
type item struct {
	msg  *nats.Msg
	size int
	err  *error
	at   partition
}

type partition struct {
	topic  string
	number int
}

// sending is the state of a group of requests that is being stored.
type sending struct {
	*Broker
	// stopped are the partitions in which a message failed.
	stopped map[partition]bool
}

// store stores the messages of a group of requests, or notes why not.
func (b *Broker) store(group []*request) {
	items := group[0].items
	if len(group) > 1 {
		items = nil
		for _, r := range group {
			items = append(items, r.items...)
		}
	}
	s := sending{b, map[partition]bool{}}
	for len(items) > 0 {
		n := batchSize(items)
		if err := s.batch(items[:n]); err != nil {
			for _, it := range items {
				if *it.err == errPending {
					*it.err = err
				}
			}
			return
		}
		items = items[n:]
	}
}

// batchSize returns how many of the first items make a batch.
func batchSize(items []item) int {
	n, size := 0, 0
	for n < len(items) && n < maxBatch {
		size += items[n].size
		if size > maxBatchBytes && n > 0 {
			break
		}
		n++
	}
	return n
}

// batch stores the items at once, or one by one when the server refuses that.
// It returns an error when the server is away: what is pending then may or may
// not be stored.
func (s sending) batch(items []item) error {
	items = s.sendable(items)
	if len(items) > 1 && s.atomicPublish {
		err := s.atomic(items)
		if err == nil {
			for _, it := range items {
				*it.err = nil
			}
			return nil
		}
		if !refused(err) {
			return s.away(err)
		}
		s.log.Debug("the broker refused a batch; its messages are sent one by one", "messages", len(items), "error", err)
	}
	return s.singly(items)
}

// sendable returns the items whose partitions are not stopped.
func (s sending) sendable(items []item) []item {
	if len(s.stopped) == 0 {
		return items
	}
	var live []item
	for _, it := range items {
		if s.stopped[it.at] {
			*it.err = errBehind
			continue
		}
		live = append(live, it)
	}
	return live
}

// away is the error of a connection that failed, or of a broker being closed.
func (s sending) away(err error) error {
	if s.closing.Err() != nil {
		return broker.ErrClosed.Wrap(err)
	}
	return unavailable(err)
}

// refused reports whether err is an answer to what was sent, and not the
// absence of one: nothing was stored.
func refused(err error) bool {
	var answer *jetstream.APIError
	return errors.As(err, &answer) || errors.Is(err, nats.ErrMaxPayload)
}

// atomic publishes the items as one atomic batch: all are stored, or none.
func (s sending) atomic(items []item) error {
	x, err := s.exchange()
	if err != nil {
		return err
	}
	id := rand.Text()
	last := len(items) - 1
	for i, it := range items {
		it.msg.Header[batchHeader] = []string{id}
		it.msg.Header[seqHeader] = []string{strconv.Itoa(i + 1)}
		if i == last {
			it.msg.Header[commitHeader] = []string{"1"}
			err = x.request(it.msg)
		} else {
			err = s.nc.PublishMsg(it.msg)
		}
		if err != nil {
			break
		}
	}
	for _, it := range items {
		delete(it.msg.Header, batchHeader)
		delete(it.msg.Header, seqHeader)
	}
	delete(items[last].msg.Header, commitHeader)
	if err != nil {
		return err
	}
	err = x.await(func(_ int, a ack) error {
		if a.err == nil && (a.Batch != id || a.Count != len(items)) {
			return errNoBatch // a server that knows no batches stored some of it
		}
		return a.err
	})
	if errors.Is(err, errNoBatch) {
		s.log.Error("the broker acknowledged a message in place of its batch: it needs nats-server 2.12 or later")
	}
	return err
}

var errNoBatch = errors.New("the server acknowledged a message in place of its batch")

// singly publishes items one by one, with acks awaited in windows; within a
// partition a message is sent once the one before it is known to be stored.
func (s sending) singly(items []item) error {
	for len(items) > 0 {
		x, err := s.exchange()
		if err != nil {
			return err
		}
		busy := map[partition]bool{}
		var sent, rest []item
		for _, it := range items {
			switch {
			case s.stopped[it.at]:
				*it.err = errBehind
			case busy[it.at] || len(sent) == window:
				busy[it.at] = true // keep the order behind it
				rest = append(rest, it)
			default:
				if err := x.request(it.msg); err != nil {
					if !refused(err) {
						return s.away(err)
					}
					s.fail(it, err)
					continue
				}
				busy[it.at] = true
				sent = append(sent, it)
			}
		}
		err = x.await(func(i int, a ack) error { // the ack of a duplicate is one too: it was stored before
			if a.err != nil && !refused(a.err) {
				return a.err
			}
			if *sent[i].err = nil; a.err != nil {
				s.fail(sent[i], a.err)
			}
			return nil
		})
		if err != nil {
			return s.away(err)
		}
		items = rest
	}
	return nil
}

// fail notes why a message was not stored, and that its partition stops there.
func (s sending) fail(it item, err error) {
	s.stopped[it.at] = true
	var answer *jetstream.APIError
	tooLarge := errors.Is(err, nats.ErrMaxPayload) || errors.As(err, &answer) && answer.ErrorCode == tooLargeCode
	if tooLarge {
		*it.err = broker.ErrTooLarge.Wrap(err)
		return
	}
	*it.err = unavailable(err)
}
