package brokertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/argosy-go/argosy/broker"
)

var receiveRules = map[string]func(*bench){
	"receive/at most as many as asked for":                     atMost,
	"receive/it waits for a message or the end of ctx":         waits,
	"receive/a nacked message comes again after its delay":     nacked,
	"receive/partitions are received apart":                    partitionsApart,
	"receive/several partitions through one receiver":          partitionsTogether,
	"receive/consumers do not know of each other":              consumersApart,
	"receive/a position is kept over a restart":                durablePosition,
	"receive/a new receiver begins with what was not acked":    unackedFirst,
	"receive/from now skips what was there":                    fromNow,
	"receive/the start has no effect on one that exists":       startOfExisting,
	"receive/no more is in flight than was allowed":            inFlight,
	"receive/a subscription that cannot be is refused":         badSubscription,
	"receive/acks after Close count":                           ackAfterClose,
	"receive/what is published while it waits comes by itself": pushed,
}

func atMost(b *bench) {
	const topic = "brokertest.at_most"
	ms := numbered(topic, 0, "m", 50)
	b.publish(ms...)
	r := b.subscribe("c", topic, 0)
	var got []string
	for most := 1; len(got) < len(ms); most = most%7 + 1 {
		ds, err := r.Receive(b.ctx, most)
		if err != nil {
			b.Fatal(err)
		}
		if len(ds) == 0 || len(ds) > most {
			b.Fatalf("receiver rule 1: Receive returns 1 to %d deliveries: %d", most, len(ds))
		}
		for _, d := range ds {
			b.ack(d)
			got = append(got, d.ID)
		}
	}
	b.same("receiver rule 2: first deliveries come in the order of publication", got, ids(ms))
}

func waits(b *bench) {
	const topic = "brokertest.waits"
	r := b.subscribe("c", topic, 0)
	ctx, cancel := context.WithTimeout(b.ctx, 50*time.Millisecond)
	defer cancel()
	if ds, err := r.Receive(ctx, 1); !errors.Is(err, context.DeadlineExceeded) || len(ds) > 0 {
		b.Errorf("receiver rule 1: Receive blocks until ctx ends: %v, %v", ds, err)
	}
	b.publish(message(topic, 0, "m"))
	ctx, cancel = context.WithCancel(b.ctx)
	cancel()
	if _, err := r.Receive(ctx, 1); !errors.Is(err, context.Canceled) {
		b.Errorf("receiver rule 1: Receive returns when ctx has ended: %v", err)
	}
	b.same("a Receive that was given up loses nothing", b.takeIDs(r, 1), []string{"m"})
}

func pushed(b *bench) {
	const topic = "brokertest.pushed"
	r := b.subscribe("c", topic, 0)
	var want []string
	got := make(chan []string)
	go func() {
		var s []string
		for len(s) < 100 {
			ds, err := r.Receive(b.ctx, 10)
			if err != nil {
				b.Errorf("Receive: %v", err)
				break
			}
			for _, d := range ds {
				_ = d.Ack() // a lost ack is a redelivery, which the ids would show
				s = append(s, d.ID)
			}
		}
		got <- s
	}()
	for i := range 100 {
		m := message(topic, 0, fmt.Sprintf("m%d", i))
		want = append(want, m.ID)
		b.publish(m)
	}
	b.same("a receiver that waits gets what is published", <-got, want)
}

func nacked(b *bench) {
	const topic = "brokertest.nacked"
	b.publish(numbered(topic, 0, "m", 3)...)
	r := b.subscribe("c", topic, 0)
	ds := b.take(r, 3)
	b.ack(ds[0])
	if err := ds[1].Nack(0); err != nil {
		b.Fatalf("Nack: %v", err)
	}
	begun := time.Now()
	if err := ds[2].Nack(300 * time.Millisecond); err != nil {
		b.Fatalf("Nack: %v", err)
	}
	again := b.take(r, 2)
	for i, want := range []string{"m-1", "m-2"} {
		if again[i].ID != want {
			b.Errorf("a nacked message comes again after its delay: delivery %d is %s, want %s", i, again[i].ID, want)
		}
		if again[i].Attempt == 1 {
			b.Errorf("Delivery.Attempt counts deliveries: it is 1 for %s, which came before", again[i].ID)
		}
		b.ack(again[i])
	}
	if early := time.Since(begun); early < 250*time.Millisecond {
		b.Errorf("a nacked message comes again after its delay: it came after %s", early)
	}
}

func partitionsApart(b *bench) {
	const topic = "brokertest.apart"
	left, right := b.subscribe("c", topic, 0, 2), b.subscribe("c", topic, 1)
	var want [2][]string
	for i := range 30 {
		m := message(topic, i%3, fmt.Sprintf("m%d", i))
		b.publish(m)
		want[i%3%2] = append(want[i%3%2], m.ID)
	}
	b.same("a receiver gets its partitions and no others", b.takeIDs(left, 20), want[0])
	b.same("a receiver gets its partitions and no others", b.takeIDs(right, 10), want[1])
}

func partitionsTogether(b *bench) {
	const topic = "brokertest.together"
	var ms []broker.Message
	for i := range 640 {
		ms = append(ms, message(topic, i%64, fmt.Sprintf("m%d", i)))
	}
	b.publish(ms...)
	all := make([]int, 64)
	for i := range all {
		all[i] = 63 - i
	}
	got := map[int][]string{}
	for _, d := range b.take(b.subscribe("c", topic, all...), len(ms)) {
		b.ack(d)
		got[d.Partition] = append(got[d.Partition], d.ID)
	}
	for p := range 64 {
		var want []string
		for i := p; i < len(ms); i += 64 {
			want = append(want, ms[i].ID)
		}
		b.same(fmt.Sprintf("receiver rule 2: first deliveries of partition %d come in order", p), got[p], want)
	}
}

func consumersApart(b *bench) {
	const topic = "brokertest.consumers"
	ms := numbered(topic, 0, "m", 5)
	b.publish(ms...)
	for _, name := range []string{"a", "A", "a/b", "a.b", "a_b", "a b", "ü", fmt.Sprintf("%0500d", 1), fmt.Sprintf("%0500d", 2)} {
		b.same(fmt.Sprintf("the consumer %.20q has a position of its own", name), b.takeIDs(b.subscribe(name, topic, 0), 5), ids(ms))
	}
}

func durablePosition(b *bench) {
	const topic = "brokertest.position"
	ms := numbered(topic, 0, "m", 20)
	b.publish(ms...)
	r := b.oneByOne(topic, 12)
	if err := r.Close(); err != nil {
		b.Errorf("Close of the receiver: %v", err)
	}
	if err := b.Close(); err != nil {
		b.Fatalf("Close: %v", err)
	}
	b.Broker = b.reopen()
	b.same("a subscription goes on where its acks ended", b.takeIDs(b.subscribe("c", topic, 0), 8), ids(ms[12:]))
}

// oneByOne acknowledges n messages and takes one more, which comes after the
// broker knows of the acks. The consumer is "c".
func (b *bench) oneByOne(topic string, n int) broker.Receiver {
	b.Helper()
	r := b.subscribeTo(broker.Subscription{Consumer: "c", Topic: topic, Partitions: []int{0}, MaxInFlight: 1})
	for range n {
		b.ack(b.take(r, 1)[0])
	}
	b.take(r, 1)
	return r
}

func unackedFirst(b *bench) {
	const topic = "brokertest.unacked"
	ms := numbered(topic, 0, "m", 10)
	b.publish(ms...)
	r := b.subscribe("c", topic, 0)
	ds := b.take(r, 6)
	b.ack(ds[0])
	b.ack(ds[3])
	_ = r.Close()
	begun := time.Now()
	again := b.subscribe("c", topic, 0)
	var got []string
	for !slices.Contains(got, "m-9") {
		for _, d := range b.take(again, 1) {
			b.ack(d)
			got = append(got, d.ID)
		}
	}
	got = slices.DeleteFunc(got, func(id string) bool { return id == "m-0" || id == "m-3" }) // a lost ack is a redelivery
	b.same("receiver rule 2: a new receiver begins with what was delivered before it and not acknowledged, in order",
		got, []string{"m-1", "m-2", "m-4", "m-5", "m-6", "m-7", "m-8", "m-9"})
	if late := time.Since(begun); late > b.patience/2 {
		b.Errorf("receiver rule 2: it begins at once: it took %s", late)
	}
}

func fromNow(b *bench) {
	const topic = "brokertest.now"
	b.publish(numbered(topic, 0, "old", 5)...)
	now := b.subscribeTo(broker.Subscription{Consumer: "now", Topic: topic, Partitions: []int{0}, Start: broker.FromNow})
	ms := numbered(topic, 0, "new", 5)
	b.publish(ms...)
	b.same("FromNow delivers what is published after the subscription was made", b.takeIDs(now, 5), ids(ms))
	_ = now.Close()
	b.publish(message(topic, 0, "away"))
	now = b.subscribeTo(broker.Subscription{Consumer: "now", Topic: topic, Partitions: []int{0}, Start: broker.FromNow})
	b.same("a Start has no effect on a subscription that exists", b.takeIDs(now, 1), []string{"away"})
}

func startOfExisting(b *bench) {
	const topic = "brokertest.start"
	b.publish(numbered(topic, 0, "m", 3)...)
	_ = b.oneByOne(topic, 1).Close()
	again := b.subscribeTo(broker.Subscription{Consumer: "c", Topic: topic, Partitions: []int{0}, Start: broker.FromNow, MaxInFlight: 7})
	b.same("a Start has no effect on a subscription that exists", b.takeIDs(again, 2), []string{"m-1", "m-2"})
}

func inFlight(b *bench) {
	const topic = "brokertest.in_flight"
	b.publish(numbered(topic, 0, "m", 10)...)
	r := b.subscribeTo(broker.Subscription{Consumer: "c", Topic: topic, Partitions: []int{0}, MaxInFlight: 4})
	ds := b.take(r, 4)
	ctx, cancel := context.WithTimeout(b.ctx, 200*time.Millisecond)
	defer cancel()
	if more, err := r.Receive(ctx, 10); err == nil {
		b.Fatalf("MaxInFlight bounds what is delivered and not acknowledged: 4 allowed, %d more came", len(more))
	}
	for _, d := range ds {
		b.ack(d)
	}
	b.same("an ack makes room for more", b.takeIDs(r, 4), []string{"m-4", "m-5", "m-6", "m-7"})
}

func badSubscription(b *bench) {
	for name, s := range map[string]broker.Subscription{
		"no consumer":    {Topic: "a", Partitions: []int{0}},
		"no topic":       {Consumer: "c", Partitions: []int{0}},
		"no partitions":  {Consumer: "c", Topic: "a"},
		"a wildcard":     {Consumer: "c", Topic: "a.>", Partitions: []int{0}},
		"a blank":        {Consumer: "c", Topic: "a b", Partitions: []int{0}},
		"partition -1":   {Consumer: "c", Topic: "a", Partitions: []int{-1}},
		"one part twice": {Consumer: "c", Topic: "a", Partitions: []int{1, 1}},
	} {
		if r, err := b.Subscribe(b.ctx, s); err == nil {
			_ = r.Close()
			b.Errorf("a subscription that cannot be is refused: %s", name)
		} else if errors.Is(err, broker.ErrUnavailable) {
			b.Errorf("a subscription that cannot be is not an unavailable broker: %s: %v", name, err)
		}
	}
}

func ackAfterClose(b *bench) {
	const topic = "brokertest.ack_after_close"
	b.publish(numbered(topic, 0, "m", 3)...)
	r := b.subscribe("c", topic, 0)
	ds := b.take(r, 2)
	if err := r.Close(); err != nil {
		b.Fatalf("Close: %v", err)
	}
	b.ack(ds[0])
	b.ack(ds[1])
	for again := b.subscribe("c", topic, 0); ; {
		d := b.take(again, 1)[0]
		b.ack(d)
		if d.ID == "m-2" {
			break
		}
		if d.ID == "m-0" && d.Attempt > 2 { // once more is a lost ack
			b.Fatal("receiver rule 3: acks of what was handed out before Close still count")
		}
	}
}
