package nats

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ackWait is how long the server may take to store what it was sent.
const ackWait = 10 * time.Second

// replies is the way back to the publisher: one subscription for all acks.
// The publisher uses it alone.
type replies struct {
	inbox string
	sub   *nats.Subscription
	acks  chan *nats.Msg
	lost  chan nats.Status
	next  uint64 // the number of the next request
}

func newReplies(nc *nats.Conn) (*replies, error) {
	r := &replies{inbox: nc.NewInbox() + ".", acks: make(chan *nats.Msg, 4*window), lost: nc.StatusChanged(nats.RECONNECTING, nats.CLOSED)}
	sub, err := nc.ChanSubscribe(r.inbox+"*", r.acks)
	if err != nil {
		nc.RemoveStatusListener(r.lost)
		return nil, err
	}
	r.sub = sub
	return r, nil
}

func (r *replies) close(nc *nats.Conn) {
	nc.RemoveStatusListener(r.lost)
	_ = r.sub.Unsubscribe() // it fails on a closed connection, which has no subscriptions
}

// exchange is a number of requests whose acks are awaited together.
type exchange struct {
	*Broker
	first uint64
}

// exchange begins an exchange. It fails at once while the connection is away,
// so that nothing lingers in the client's buffer to be sent much later.
func (b *Broker) exchange() (exchange, error) {
	for range len(b.replies.lost) {
		<-b.replies.lost
	}
	for range len(b.replies.acks) { // those of an exchange that was given up
		<-b.replies.acks
	}
	if !b.nc.IsConnected() {
		return exchange{}, nats.ErrDisconnected
	}
	return exchange{b, b.replies.next}, nil
}

// request sends a message that is acknowledged.
func (x exchange) request(m *nats.Msg) error {
	m.Reply = x.replies.inbox + strconv.FormatUint(x.replies.next, 10)
	err := x.nc.PublishMsg(m)
	if m.Reply = ""; err == nil {
		x.replies.next++
	}
	return err
}

// await calls f with the ack of every request, by its number from 0, until f
// returns an error, the connection is lost, or the server takes too long.
func (x exchange) await(f func(int, ack) error) error {
	missing := x.replies.next - x.first
	if missing == 0 {
		return nil
	}
	patience := time.NewTimer(ackWait)
	defer patience.Stop()
	for missing > 0 {
		select {
		case m := <-x.replies.acks:
			n, err := strconv.ParseUint(strings.TrimPrefix(m.Subject, x.replies.inbox), 10, 64)
			if err != nil || n < x.first || n >= x.replies.next {
				continue // one of an earlier exchange
			}
			missing--
			if err := f(int(n-x.first), readAck(m)); err != nil {
				return err
			}
		case <-x.replies.lost:
			return nats.ErrDisconnected
		case <-patience.C:
			return fmt.Errorf("no ack within %s: %w", ackWait, nats.ErrTimeout)
		case <-x.closing.Done():
			return x.closing.Err()
		}
	}
	return nil
}

// ack is the server's answer to a publication.
type ack struct {
	// err is an *jetstream.APIError when the server refused.
	err error
	// Batch and Count are set in the answer to an atomic batch.
	Batch string
	Count int
}

func readAck(m *nats.Msg) ack {
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		return ack{err: nats.ErrNoResponders}
	}
	var a struct {
		Error  *jetstream.APIError `json:"error"`
		Stream string              `json:"stream"`
		Batch  string              `json:"batch"`
		Count  int                 `json:"count"`
	}
	if err := json.Unmarshal(m.Data, &a); err != nil {
		return ack{err: fmt.Errorf("the server's ack is not understood: %w", err)}
	}
	if a.Error != nil {
		return ack{err: a.Error}
	}
	if a.Stream == "" {
		return ack{err: errors.New("the server's ack names no stream")}
	}
	return ack{Batch: a.Batch, Count: a.Count}
}
