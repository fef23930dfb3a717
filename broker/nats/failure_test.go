package nats_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/broker/nats"
)

func messages(topic string, partition, from, to int) []broker.Message {
	var ms []broker.Message
	for i := from; i < to; i++ {
		ms = append(ms, broker.Message{ID: fmt.Sprintf("%s-%d-%d", topic, partition, i), Topic: topic, Partition: partition, Body: []byte("body")})
	}
	return ms
}

// publish repeats the call until everything is stored, as the outbox does; any
// error but ErrUnavailable fails the test. It returns how often it failed.
func publish(t *testing.T, b broker.Broker, ms []broker.Message) int {
	t.Helper()
	for failures := 0; ; failures++ {
		errs := b.Publish(t.Context(), ms)
		if errs == nil {
			return failures
		}
		for i, err := range errs {
			if err != nil && !errors.Is(err, broker.ErrUnavailable) {
				t.Fatalf("message %d: what is not stored for now is ErrUnavailable: %v", i, err)
			}
		}
		pause(t)
	}
}

// pause waits a moment between attempts at a server that is away.
func pause(t *testing.T) {
	select {
	case <-time.After(20 * time.Millisecond):
	case <-t.Context().Done():
	}
}

// wantStored fails the test unless the partition holds exactly these messages.
func wantStored(t *testing.T, b broker.Broker, topic string, partition int, want []broker.Message) {
	t.Helper()
	end := broker.Message{ID: fmt.Sprintf("end of %s %d", topic, partition), Topic: topic, Partition: partition}
	publish(t, b, []broker.Message{end})
	r, err := b.Subscribe(t.Context(), broker.Subscription{Consumer: t.Name(), Topic: topic, Partitions: []int{partition}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for i := 0; ; i++ {
		ds, err := r.Receive(ctx, 1)
		if err != nil {
			t.Fatalf("%s: after %d of %d messages: %v", topic, i, len(want), err)
		}
		_ = ds[0].Ack() // a lost ack is a redelivery, which the ids would show
		if ds[0].ID == end.ID {
			if i != len(want) {
				t.Errorf("%s: %d messages are stored, want %d", topic, i, len(want))
			}
			return
		}
		if i >= len(want) || ds[0].ID != want[i].ID {
			t.Fatalf("%s: message %d is %s; want %d messages in order", topic, i, ds[0].ID, len(want))
		}
	}
}

func TestPublicationsGoOnAfterARestartOfTheServer(t *testing.T) {
	dir := t.TempDir()
	server := serve(t, dir, "127.0.0.1:0")
	addr := strings.TrimPrefix(server.URL(), "nats://")
	b := connect(t, server.URL())
	r, err := b.Subscribe(t.Context(), broker.Subscription{Consumer: "through", Topic: "restart", Partitions: []int{0}})
	if err != nil {
		t.Fatal(err)
	}
	all := messages("restart", 0, 0, 400)
	publish(t, b, all[:100])
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	errs := b.Publish(t.Context(), all[100:110])
	if errs == nil || !errors.Is(errs[0], broker.ErrUnavailable) {
		t.Errorf("without a server Publish fails with ErrUnavailable: %v", errs)
	}
	if err := b.Probe(t.Context()); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("without a server Probe fails with ErrUnavailable: %v", err)
	}
	if _, err := b.Subscribe(t.Context(), broker.Subscription{Consumer: "c", Topic: "restart", Partitions: []int{0}}); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("without a server Subscribe fails with ErrUnavailable: %v", err)
	}
	serve(t, dir, addr)
	for i := 100; i < 400; i += 50 {
		publish(t, b, all[i:i+50])
	}
	wantStored(t, b, "restart", 0, all)
	for seen := map[string]bool{}; len(seen) < len(all); {
		ds, err := r.Receive(t.Context(), 100)
		if err != nil {
			t.Fatalf("a receiver outlives a restart of the server: %v", err)
		}
		for _, d := range ds {
			seen[d.ID] = true
			_ = d.Ack()
		}
	}
}

// TestACutBatchIsStoredWholeOrNotAtAll breaks the connection at many places in
// a batch; what is reported must agree with what is stored, and the repeated
// call must leave every message once and in order.
func TestACutBatchIsStoredWholeOrNotAtAll(t *testing.T) {
	server := serve(t, t.TempDir(), "127.0.0.1:0")
	p := newProxy(t, server.URL())
	b := connect(t, p.url())
	cuts := 0
	for i, after := range []int{1, 500, 17_000, 1500, 4000, 18_000, 8000, 12_000, 19_000, 14_000, 15_000, 21_000} {
		topic := fmt.Sprintf("cut%d", i)
		ms := messages(topic, 0, 0, 100)
		if i%3 == 2 { // a known id: the batch is refused, and single messages are cut
			publish(t, b, ms[:1])
		}
		cut, reported := p.cutAfter(after), map[string]bool{}
		begun := time.Now()
		errs := b.Publish(t.Context(), ms)
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("after %d bytes: a lost connection is known at once, not after %s", after, took)
		}
		select {
		case <-cut:
			cuts++
		default:
		}
		for j, m := range ms {
			if errs == nil || errs[j] == nil {
				reported[m.ID] = true
			}
		}
		wantReported(t, server, topic, ms, reported)
		publish(t, b, ms)
		wantStored(t, server, topic, 0, ms)
	}
	if cuts < 10 {
		t.Errorf("only %d connections were cut", cuts)
	}
}

// wantReported fails the test unless all that was reported as stored is there,
// and no message is there without the one before it.
func wantReported(t *testing.T, b broker.Broker, topic string, ms []broker.Message, reported map[string]bool) {
	t.Helper()
	end := broker.Message{ID: "first end of " + topic, Topic: topic, Partition: 1}
	publish(t, b, []broker.Message{end})
	r, err := b.Subscribe(t.Context(), broker.Subscription{Consumer: "reported", Topic: topic, Partitions: []int{0, 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i := 0; ; i++ {
		ds, err := r.Receive(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if ds[0].ID == end.ID {
			break
		}
		if ds[0].ID != ms[i].ID {
			t.Errorf("%s: message %d is %s, want %s", topic, i, ds[0].ID, ms[i].ID)
		}
		delete(reported, ds[0].ID)
	}
	for id := range reported {
		t.Errorf("%s was reported as stored and is not there", id)
	}
}

// TestALostAckIsUnknown loses the answer to a batch that was stored.
func TestALostAckIsUnknown(t *testing.T) {
	server := serve(t, t.TempDir(), "127.0.0.1:0")
	p := newProxy(t, server.URL())
	b := connect(t, p.url())
	ms := messages("ack", 0, 0, 50)
	p.mute()
	told := make(chan []error)
	go func() { told <- b.Publish(t.Context(), ms) }()
	wantStoredSoon(t, server, "ack", len(ms))
	p.breakAll()
	p.release()
	for i, err := range <-told {
		if !errors.Is(err, broker.ErrUnavailable) {
			t.Errorf("message %d of a batch without an answer is ErrUnavailable: %v", i, err)
		}
	}
	publish(t, b, ms)
	wantStored(t, server, "ack", 0, ms)
}

// TestADeliveryThatIsLostOnItsWayIsNotOvertaken loses what the server sends to
// a receiver, and publishes more.
func TestADeliveryThatIsLostOnItsWayIsNotOvertaken(t *testing.T) {
	server := serve(t, t.TempDir(), "127.0.0.1:0")
	p := newProxy(t, server.URL())
	b := connect(t, p.url())
	s := broker.Subscription{Consumer: "lossy", Topic: "lossy", Partitions: []int{0}}
	r, err := b.Subscribe(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	ms := messages("lossy", 0, 0, 30)
	publish(t, server, ms[:10])
	var got []string
	receive := func(n int) {
		t.Helper()
		for len(got) < n {
			ds, err := r.Receive(t.Context(), n-len(got))
			if errors.Is(err, broker.ErrUnavailable) { // as an inbox does
				_ = r.Close()
				if r, err = b.Subscribe(t.Context(), s); err == nil {
					continue
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range ds {
				_ = d.Ack()
				got = append(got, d.ID)
			}
		}
	}
	receive(10)
	p.mute()
	publish(t, server, ms[10:20])
	js := rawStream(t, server.URL())
	for delivered := uint64(0); delivered < 20; {
		c, err := js.Consumer(t.Context(), "ARGOSY", "lossy_p0")
		if err != nil {
			t.Fatal(err)
		}
		delivered = c.CachedInfo().Delivered.Consumer
	}
	p.breakAll()
	p.release()
	publish(t, server, ms[20:])
	receive(30)
	for i, id := range got {
		if id != ms[i].ID {
			t.Fatalf("message %d is %s, want %s", i, id, ms[i].ID)
		}
	}
}

// wantStoredSoon waits until n messages are there.
func wantStoredSoon(t *testing.T, b broker.Broker, topic string, n int) {
	t.Helper()
	r, err := b.Subscribe(t.Context(), broker.Subscription{Consumer: "soon", Topic: topic, Partitions: []int{0}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for got := 0; got < n; {
		ds, err := r.Receive(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		got += len(ds)
	}
}

func TestCloseDoesNotWaitForAServerThatIsSilent(t *testing.T) {
	server := serve(t, t.TempDir(), "127.0.0.1:0")
	p := newProxy(t, server.URL())
	b := connect(t, p.url())
	if _, err := b.Subscribe(t.Context(), broker.Subscription{Consumer: "c", Topic: "silent", Partitions: []int{0}}); err != nil {
		t.Fatal(err)
	}
	p.mute()
	told := make(chan []error)
	go func() { told <- b.Publish(t.Context(), messages("silent", 0, 0, 10)) }()
	wantStoredSoon(t, server, "silent", 10)
	begun := time.Now()
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if errs := <-told; len(errs) != 10 || !errors.Is(errs[0], broker.ErrClosed) {
		t.Errorf("Close ends a publication under way with ErrClosed: %v", errs)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("Close took %s", took)
	}
}

func TestABatchThatIsRefusedIsSentOneByOne(t *testing.T) {
	server := serve(t, t.TempDir(), "127.0.0.1:0")
	b, raw := connect(t, server.URL()), rawConn(t, server.URL())
	for i := range 50 { // other processes' batches, begun and not ended
		m := natsgo.NewMsg("argosy.ev.foreign.0")
		m.Header.Set("Nats-Batch-Id", fmt.Sprintf("foreign-%d", i))
		m.Header.Set("Nats-Batch-Sequence", "1")
		if err := raw.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := raw.Flush(); err != nil {
		t.Fatal(err)
	}
	ms := append(messages("inflight", 0, 0, 60), messages("inflight", 1, 0, 60)...)
	if errs := b.Publish(t.Context(), ms); errs != nil {
		t.Fatalf("when the server has too many batches under way, messages are stored one by one: %v", errors.Join(errs...))
	}
	wantStored(t, b, "inflight", 0, ms[:60])
	wantStored(t, b, "inflight", 1, ms[60:])
}

func TestAStreamWithoutBatchesIsServedOneByOne(t *testing.T) {
	server := serve(t, t.TempDir(), "127.0.0.1:0")
	b, js := connect(t, server.URL()), rawStream(t, server.URL())
	change(t, js, func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false })
	ms := messages("disabled", 3, 0, 30)
	if errs := b.Publish(t.Context(), ms); errs != nil {
		t.Fatal(errors.Join(errs...))
	}
	wantStored(t, b, "disabled", 3, ms)
}

func TestAFullStreamSaysSo(t *testing.T) {
	server := serve(t, t.TempDir(), "127.0.0.1:0")
	b, js := connect(t, server.URL()), rawStream(t, server.URL())
	change(t, js, func(c *jetstream.StreamConfig) { c.MaxBytes = 64 << 10 })
	ms := messages("full", 0, 0, 100)
	for i := range ms {
		ms[i].Body = make([]byte, 4<<10)
	}
	errs := b.Publish(t.Context(), ms)
	if len(errs) != len(ms) {
		t.Fatal("100 messages of 4 KB are stored in a stream of 64 KB")
	}
	stored := 0
	for stored < len(errs) && errs[stored] == nil {
		stored++
	}
	for i, err := range errs[stored:] {
		if !errors.Is(err, broker.ErrUnavailable) {
			t.Errorf("message %d is refused for now, with ErrUnavailable: %v", stored+i, err)
		}
	}
	if !strings.Contains(errs[stored].Error(), "maximum bytes exceeded") {
		t.Errorf("the error says what is full: %v", errs[stored])
	}
	again := connect(t, server.URL()) // an operator's limit outlives a start
	if errs := again.Publish(t.Context(), ms[stored:]); len(errs) == 0 || errs[0] == nil {
		t.Error("a limit that an operator set is gone after another Open")
	}
	change(t, js, func(c *jetstream.StreamConfig) { c.MaxBytes = -1 })
	publish(t, b, ms)
	wantStored(t, b, "full", 0, ms)
}

func TestAMessageOverTheStreamsOwnLimitIsTooLarge(t *testing.T) {
	server := serve(t, t.TempDir(), "127.0.0.1:0")
	b, js := connect(t, server.URL()), rawStream(t, server.URL())
	change(t, js, func(c *jetstream.StreamConfig) { c.MaxMsgSize = 2 << 10 })
	ms := append(messages("limit", 0, 0, 3), messages("limit", 1, 0, 3)...)
	ms[1].Body = make([]byte, 4<<10)
	errs := b.Publish(t.Context(), ms)
	if len(errs) != len(ms) || !errors.Is(errs[1], broker.ErrTooLarge) {
		t.Fatalf("a message over the stream's limit fails with ErrTooLarge: %v", errs)
	}
	if errs[2] == nil || errors.Is(errs[2], broker.ErrTooLarge) {
		t.Errorf("what stands behind it in its partition fails, with another error: %v", errs[2])
	}
	if err := errors.Join(errs[0], errs[3], errs[4], errs[5]); err != nil {
		t.Errorf("what stands elsewhere is stored: %v", err)
	}
	wantStored(t, b, "limit", 0, ms[:1])
	wantStored(t, b, "limit", 1, ms[3:])
}

func TestAReceiverWhoseConsumerIsGoneEnds(t *testing.T) {
	server := serve(t, t.TempDir(), "127.0.0.1:0")
	b, js := connect(t, server.URL()), rawStream(t, server.URL())
	r, err := b.Subscribe(t.Context(), broker.Subscription{Consumer: "gone", Topic: "gone", Partitions: []int{0}})
	if err != nil {
		t.Fatal(err)
	}
	publish(t, b, messages("gone", 0, 0, 1))
	if _, err := r.Receive(t.Context(), 1); err != nil { // the server knows now that somebody waits
		t.Fatal(err)
	}
	if err := js.DeleteConsumer(t.Context(), "ARGOSY", "gone_p0"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Receive(t.Context(), 1); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("a receiver whose consumer was deleted ends with ErrUnavailable: %v", err)
	}
	r2, err := b.Subscribe(t.Context(), broker.Subscription{Consumer: "gone", Topic: "gone", Partitions: []int{0}})
	if err != nil {
		t.Fatal(err)
	}
	publish(t, b, messages("gone", 0, 1, 2))
	if _, err := r2.Receive(t.Context(), 1); err != nil {
		t.Errorf("a new subscription makes it again: %v", err)
	}
}

func TestAnAddressWithoutAServerIsUnavailable(t *testing.T) {
	_, err := nats.Opener{}.Open(t.Context(), broker.OpenOptions{URL: "nats://user:secret@127.0.0.1:1"})
	if !errors.Is(err, broker.ErrUnavailable) || strings.Contains(err.Error(), "secret") {
		t.Errorf("the error is ErrUnavailable and shows no password: %v", err)
	}
}

func rawConn(t *testing.T, url string) *natsgo.Conn {
	t.Helper()
	nc, err := natsgo.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func rawStream(t *testing.T, url string) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(rawConn(t, url))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// change changes the stream as an operator may.
func change(t *testing.T, js jetstream.JetStream, f func(*jetstream.StreamConfig)) {
	t.Helper()
	s, err := js.Stream(t.Context(), "ARGOSY")
	if err != nil {
		t.Fatal(err)
	}
	c := s.CachedInfo().Config
	f(&c)
	if _, err := js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

func TestNothingIsLeftRunningWhenTheServerIsAway(t *testing.T) {
	run := func() {
		server := serve(t, t.TempDir(), "127.0.0.1:0")
		b, err := nats.Opener{}.Open(t.Context(), broker.OpenOptions{URL: server.URL()})
		if err != nil {
			t.Fatal(err)
		}
		var receivers []broker.Receiver
		for _, name := range []string{"closed", "left"} {
			r, err := b.Subscribe(t.Context(), broker.Subscription{Consumer: name, Topic: "away", Partitions: []int{0}})
			if err != nil {
				t.Fatal(err)
			}
			receivers = append(receivers, r)
		}
		publish(t, b, messages("away", 0, 0, 10))
		if err := server.Close(); err != nil {
			t.Fatal(err)
		}
		if err := receivers[0].Close(); err != nil {
			t.Errorf("a receiver closes without a server: %v", err)
		}
		if err := b.Close(); err != nil {
			t.Errorf("a broker closes without a server: %v", err)
		}
	}
	run() // what stays once, as the server's timers, is not counted
	before := runtime.NumGoroutine()
	run()
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines before, %d after:\n%s", before, runtime.NumGoroutine(), stacks[:runtime.Stack(stacks, true)])
		}
	}
}
