package brokertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/argosy-go/argosy/broker"
)

var publishRules = map[string]func(*bench){
	"publish/what is stored is received with everything in it":            roundTrip,
	"publish/a partition keeps the order of publication":                  order,
	"publish/a call may hold more messages than the broker takes at once": manyInOneCall,
	"publish/a call may hold messages of many topics":                     manyTopics,
	"publish/a message that is too large is refused alone":                tooLarge,
	"publish/a message of the largest size is taken":                      largest,
	"publish/nothing behind a failed message of its partition is stored":  behindFailed,
	"publish/no messages are no error":                                    nothing,
	"publish/a topic that cannot be is refused and the rest is stored":    badTopic,
	"publish/concurrent callers lose and double nothing":                  concurrent,
	"publish/a caller that goes away does not hurt the others":            cancelled,
}

func roundTrip(b *bench) {
	sent := broker.Message{
		ID: "round/trip %1 ü", Topic: "brokertest.round_trip.v1.Event", Partition: 11, Body: []byte("\x00\xff body"),
		Header: map[string]string{
			"plain": "text", "empty": "", "utf8": "zwölf Boxkämpfer 猫 🐈", "control": "a\x00b\r\nc\td\x7f",
			"blanks": "  both ends  ", "blank": " ", "tabs": "\ttabs\t", "percent": "100%, %41 and %", "nbsp": "\u00a0edge\u0085",
			"colon": "a: b", "quotes": `"it's"`, "ce-id": "1", "x.y_z-9": "name", "long": strings.Repeat("x", 5000),
		},
	}
	b.publish(sent)
	d := b.take(b.subscribe("c", sent.Topic, sent.Partition), 1)[0]
	b.ack(d)
	if d.ID != sent.ID || d.Topic != sent.Topic || d.Partition != sent.Partition || string(d.Body) != string(sent.Body) {
		b.Errorf("a message comes as it was sent: got id %q topic %q partition %d body %q", d.ID, d.Topic, d.Partition, d.Body)
	}
	for name, want := range sent.Header {
		if got, ok := d.Header[name]; !ok || got != want {
			b.Errorf("headers come as they were sent: %s is %.60q (there: %t), want %.60q", name, got, ok, want)
		}
	}
	for name := range d.Header {
		if _, ok := sent.Header[name]; !ok {
			b.Errorf("headers come as they were sent: %s was not sent", name)
		}
	}
	if d.Time.IsZero() {
		b.Error("Delivery.Time says when the message was stored: it is zero")
	}
	if d.Attempt > 1 {
		b.Errorf("Delivery.Attempt counts from 1: the first is %d", d.Attempt)
	}
}

func order(b *bench) {
	const topic = "brokertest.order"
	var want []string
	for call := range 20 {
		ms := numbered(topic, 0, fmt.Sprintf("call%d", call), call*3+1)
		b.publish(ms...)
		want = append(want, ids(ms)...)
	}
	b.holds("rule 1: messages of one partition are stored in the order given", topic, 0, want)
}

func manyInOneCall(b *bench) {
	const topic = "brokertest.many"
	ms := numbered(topic, 0, "m", 2500)
	b.publish(ms...)
	b.holds("rule 1: a call of 2,500 messages stores them all, in order", topic, 0, ids(ms))
}

func manyTopics(b *bench) {
	var ms []broker.Message
	want := map[string][]string{}
	for i := range 600 {
		topic := fmt.Sprintf("brokertest.topics.t%d", i%60)
		m := message(topic, 0, fmt.Sprintf("m%d", i))
		ms = append(ms, m)
		want[topic] = append(want[topic], m.ID)
	}
	b.publish(ms...)
	for _, i := range []int{0, 7, 31, 59} {
		topic := fmt.Sprintf("brokertest.topics.t%d", i)
		b.holds("rule 1: a call may hold messages of many topics", topic, 0, want[topic])
	}
}

func tooLarge(b *bench) {
	const topic = "brokertest.large"
	ms := []broker.Message{message(topic, 0, "before"), message(topic, 1, "large"), message(topic, 2, "after"), message(topic, 3, "header")}
	ms[1].Body = make([]byte, b.MaxMessageBytes()+1)
	ms[3].Header = map[string]string{"large": strings.Repeat("x", b.MaxMessageBytes())}
	errs := b.Publish(b.ctx, ms)
	if len(errs) != len(ms) {
		b.Fatalf("rule 2: the result has one entry a message: %d for %d", len(errs), len(ms))
	}
	for i, err := range errs {
		if large := i == 1 || i == 3; large != errors.Is(err, broker.ErrTooLarge) || !large && err != nil {
			b.Errorf("a message over MaxMessageBytes fails alone, with ErrTooLarge: message %d (%s): %v", i, ms[i].ID, err)
		}
	}
	b.holds("rule 2: what has no error is stored", topic, 0, []string{"before"})
	b.holds("what is too large is not stored", topic, 1, nil)
	b.holds("rule 2: what has no error is stored", topic, 2, []string{"after"})
}

func largest(b *bench) {
	const topic = "brokertest.largest"
	m := message(topic, 0, "largest")
	m.Body = make([]byte, b.MaxMessageBytes()-1024) // the rest is for headers
	b.publish(m)
	b.publish(m, message(topic, 0, "small"))
	b.holds("a message within MaxMessageBytes is stored", topic, 0, []string{"largest", "small"})
}

func behindFailed(b *bench) {
	const topic = "brokertest.behind"
	ms := append(numbered(topic, 0, "m", 4), message(topic, 1, "other"))
	ms[1].Body = make([]byte, b.MaxMessageBytes()+1)
	errs := b.Publish(b.ctx, ms)
	if len(errs) != len(ms) || errs[0] != nil || errs[4] != nil {
		b.Fatalf("rule 2: messages before a failed one, and of other partitions, are stored: %v", errs)
	}
	for i := 2; i < 4; i++ {
		if errs[i] == nil || errors.Is(errs[i], broker.ErrTooLarge) {
			b.Errorf("rule 1: message %d stands behind a failed one and has an error of its own: %v", i, errs[i])
		}
	}
	b.holds("rule 1: when message i fails, no later message of its partition in that call is newly stored", topic, 0, []string{"m-0"})
}

func nothing(b *bench) {
	if errs := b.Publish(b.ctx, nil); errs != nil {
		b.Errorf("rule 2: the result is nil when all succeeded: %v", errs)
	}
}

func badTopic(b *bench) {
	const topic = "brokertest.good"
	bad := []string{"", ".", "a..b", "a b", "a.*", "a.>", "a\nPUB x", "a.ü", strings.Repeat("x", 300)}
	ms := []broker.Message{message(topic, 0, "first")}
	for i, name := range bad {
		ms = append(ms, message(name, 0, fmt.Sprintf("bad%d", i)))
	}
	ms = append(ms, message(topic, -1, "negative"), message(topic, 1, ""), message(topic, 0, "last"))
	name := message(topic, 2, "name")
	name.Header = map[string]string{"a\r\nb": "c"}
	ms = append(ms, name)
	errs := b.Publish(b.ctx, ms)
	if len(errs) != len(ms) {
		b.Fatalf("rule 2: the result has one entry a message: %d for %d", len(errs), len(ms))
	}
	for i, err := range errs {
		if good := ms[i].ID == "first" || ms[i].ID == "last"; good != (err == nil) {
			b.Errorf("only what is not valid is refused: topic %q partition %d id %q: %v", ms[i].Topic, ms[i].Partition, ms[i].ID, err)
		}
	}
	for _, name := range bad {
		if err := b.Declare(b.ctx, broker.Topic{Name: name, Partitions: 1}); err == nil {
			b.Errorf("Declare refuses what Publish refuses: %q", name)
		}
	}
	b.holds("rule 2: what has no error is stored", topic, 0, []string{"first", "last"})
}

func concurrent(b *bench) {
	const topic, callers, calls = "brokertest.concurrent", 64, 20
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range calls {
				ms := numbered(topic, c%8, fmt.Sprintf("c%d-%d", c, i), 1+(c+i)%3)
				if errs := b.Publish(b.ctx, ms); errs != nil {
					b.Errorf("rule 5: caller %d: %v", c, errors.Join(errs...))
				}
			}
		})
	}
	wg.Wait()
	for p := range 8 {
		end := fmt.Sprintf("end%d", p)
		b.publish(message(topic, p, end))
		r := b.subscribe("c", topic, p)
		seen, last := map[string]bool{}, map[int]int{}
		for {
			d := b.take(r, 1)[0]
			b.ack(d)
			if d.ID == end {
				break
			}
			var c, call, n int
			if _, err := fmt.Sscanf(d.ID, "c%d-%d-%d", &c, &call, &n); err != nil || c%8 != p {
				b.Fatalf("partition %d has the message %q", p, d.ID)
			}
			if seen[d.ID] {
				b.Errorf("rule 5: %s is there twice", d.ID)
			}
			if at := call*10 + n + 1; at <= last[c] {
				b.Errorf("rule 1: %s comes too late: the order of one caller is kept", d.ID)
			} else {
				last[c] = at
			}
			seen[d.ID] = true
		}
		want := 0
		for c := p; c < callers; c += 8 {
			for i := range calls {
				want += 1 + (c+i)%3
			}
		}
		if len(seen) != want {
			b.Errorf("rule 5: partition %d has %d messages of %d", p, len(seen), want)
		}
		_ = r.Close()
	}
}

func cancelled(b *bench) {
	const topic = "brokertest.cancelled"
	gone, cancel := context.WithCancel(b.ctx)
	cancel()
	if errs := b.Publish(gone, numbered(topic, 1, "gone", 2)); len(errs) != 2 || !errors.Is(errs[0], broker.ErrUnavailable) {
		b.Errorf("a caller whose context has ended is told that nothing is known, with ErrUnavailable: %v", errs)
	}
	var wg sync.WaitGroup
	var want []string
	for i := range 50 {
		m := message(topic, 0, fmt.Sprintf("m%d", i))
		want = append(want, m.ID)
		ctx, cancel := context.WithCancel(b.ctx)
		wg.Go(func() { b.Publish(ctx, numbered(topic, 1, fmt.Sprintf("leaver%d", i), 5)) })
		wg.Go(cancel)
		b.publish(m)
	}
	wg.Wait()
	b.holds("a caller that goes away does not hurt others", topic, 0, want)
}
