package nats

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/argosy-go/argosy/broker"
	"github.com/nats-io/nats.go"
)

const (
	prefix = "argosy.ev."
	// protocolRoom is what the protocol's own headers take of the server's limit.
	protocolRoom = 4 << 10
	maxTopic     = 255
	maxID        = 1024
)

// subject returns where messages of a partition are. The last word is always
// the partition, so that no two partitions of any topics share a subject.
func subject(topic string, partition int) string {
	return prefix + topic + "." + strconv.Itoa(partition)
}

// checkTopic refuses names that a subject cannot hold.
func checkTopic(name string) error {
	valid := len(name) <= maxTopic
	for word := range strings.SplitSeq(name, ".") {
		valid = valid && word != "" && strings.IndexFunc(word, notInWord) < 0
	}
	if !valid {
		return errInvalid.WithMessage("topic %q: use dotted words of letters, digits, _ and -, at most %d bytes", name, maxTopic)
	}
	return nil
}

func notInWord(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-'
}

// encodeAll makes messages of the protocol, and notes in errs why one cannot be
// sent. What comes behind it in its partition is not sent either.
func (b *Broker) encodeAll(messages []broker.Message, errs []error) []item {
	items := make([]item, 0, len(messages))
	stopped := map[partition]bool{}
	limit := b.MaxMessageBytes()
	for i := range messages {
		m := &messages[i]
		at := partition{m.Topic, m.Partition}
		if stopped[at] {
			errs[i] = errBehind
			continue
		}
		msg, size, err := encode(m, limit)
		if err != nil {
			errs[i], stopped[at] = err, true
			continue
		}
		errs[i] = errPending
		items = append(items, item{msg, size, &errs[i], at})
	}
	return items
}

// encode makes a message of the protocol, or says why it cannot be sent.
func encode(m *broker.Message, limit int) (*nats.Msg, int, error) {
	if err := checkTopic(m.Topic); err != nil {
		return nil, 0, err
	}
	if m.Partition < 0 {
		return nil, 0, errInvalid.WithMessage("message %q: partition %d does not exist", m.ID, m.Partition)
	}
	if m.ID == "" || len(m.ID) > maxID {
		return nil, 0, errInvalid.WithMessage("a message of %s has an id of %d bytes: use 1 to %d", m.Topic, len(m.ID), maxID)
	}
	msg := &nats.Msg{Subject: subject(m.Topic, m.Partition), Header: make(nats.Header, len(m.Header)+4), Data: m.Body}
	for name, value := range m.Header {
		if !validName(name) {
			return nil, 0, errInvalid.WithMessage("message %q: %q is no name of a header: use lower case letters, digits, -, _ and dots", m.ID, name)
		}
		msg.Header[name] = []string{escape(value)}
	}
	msg.Header[nats.MsgIdHdr] = []string{escape(m.ID)}
	size := msg.Size()
	if size > limit {
		return nil, 0, broker.ErrTooLarge.WithMetadata("bytes", strconv.Itoa(size)).WithMetadata("limit", strconv.Itoa(limit)).
			WithMessage("a message of %d bytes with its headers is over the broker's limit of %d", size, limit)
	}
	return msg, size, nil
}

// delivery makes a delivery of a message of the protocol.
func delivery(m arrival) broker.Delivery {
	d := broker.Delivery{
		Ack:  func() error { return unavailable(m.Ack()) },
		Nack: func(after time.Duration) error { return unavailable(m.NakWithDelay(after)) },
	}
	h := m.Headers()
	d.ID, d.Body = unescape(h.Get(nats.MsgIdHdr)), m.Data()
	d.Header = make(map[string]string, len(h))
	for name, values := range h {
		if len(values) == 1 && validName(name) {
			d.Header[name] = unescape(values[0])
		}
	}
	topic := strings.TrimPrefix(m.Subject(), prefix)
	if i := strings.LastIndexByte(topic, '.'); i >= 0 {
		if n, err := strconv.Atoi(topic[i+1:]); err == nil {
			d.Topic, d.Partition = topic[:i], n
		}
	}
	d.Attempt, d.Time = int(m.meta.NumDelivered), m.meta.Timestamp
	return d
}

// durable returns a name that the server accepts, another one for another
// consumer or other partitions, as in "stock_2forder_p0-63": what it does not
// accept is hex-encoded, and a name that would be too long is replaced by its hash.
func durable(s broker.Subscription) string {
	var b strings.Builder
	for i := range len(s.Consumer) {
		c := s.Consumer[i]
		if c != '_' && !notInWord(rune(c)) {
			b.WriteByte(c)
			continue
		}
		fmt.Fprintf(&b, "_%02x", c)
	}
	for numbers := sorted(s.Partitions); len(numbers) > 0; {
		n := 1
		for n < len(numbers) && numbers[n] == numbers[0]+n {
			n++
		}
		b.WriteString("_p" + strconv.Itoa(numbers[0])) // p is no hex digit
		if n > 1 {
			b.WriteString("-" + strconv.Itoa(numbers[n-1]))
		}
		numbers = numbers[n:]
	}
	return short(b.String())
}
