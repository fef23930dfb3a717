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
	// leastBatch is from where a batch is quicker than single messages: the
	// server keeps a batch in files of its own until it is complete.
	leastBatch = 5
	// firstSingles is how many messages of a refused batch are sent one by one
	// before the rest is tried as a batch.
	firstSingles = 16
	// maxBatchBytes keeps a batch well under what the server buffers.
	maxBatchBytes = 8 << 20
	// window is how many single publications may wait for their acks.
	window = 256

	batchHeader  = "Nats-Batch-Id"
	seqHeader    = "Nats-Batch-Sequence"
	commitHeader = "Nats-Batch-Commit"

	// The server's codes for a message over the stream's own limit, and for a
	// batch with an id that is known or there twice.
	tooLargeCode  jetstream.ErrorCode = 10054
	duplicateCode jetstream.ErrorCode = 10201
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

// batch stores the items at once. When the server refuses that, because it
// knows one of them, the first few are sent one by one before the rest is tried
// again: after a crash the known ones are the first, and cost little. It returns
// an error when the server is away: what is pending then may or may not be stored.
func (s sending) batch(items []item) error {
	for few := firstSingles; ; few *= 4 {
		items = s.sendable(items)
		if len(items) < leastBatch || !s.atomicPublish {
			return s.singly(items)
		}
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
		s.log.Debug("the broker refused a batch; messages are sent one by one", "messages", len(items), "error", err)
		n := len(items)
		if code(err) == duplicateCode {
			n = min(n, few)
		}
		if err := s.singly(items[:n]); err != nil || n == len(items) {
			return err
		}
		items = items[n:]
	}
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
	return code(err) != 0 || errors.Is(err, nats.ErrMaxPayload)
}

// code returns the code of a refusal, 0 where err is none.
func code(err error) jetstream.ErrorCode {
	var answer *jetstream.APIError
	if errors.As(err, &answer) {
		return answer.ErrorCode
	}
	return 0
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
	if errors.Is(err, nats.ErrMaxPayload) || code(err) == tooLargeCode {
		*it.err = broker.ErrTooLarge.Wrap(err)
		return
	}
	*it.err = unavailable(err)
}
