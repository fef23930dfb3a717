package brokertest

import (
	"time"

	"github.com/argosy-go/argosy/broker"
)

// rewindRules hold for a broker that is a [broker.Rewinder].
var rewindRules = map[string]func(*bench){
	"rewind/to a time delivers what was stored from then on": rewindToTime,
	"rewind/to before everything delivers all that is kept":  rewindToBeginning,
	"rewind/a position that was not there begins there":      rewindNew,
}

// rewind takes a position back; it reports false where the broker cannot.
func (b *bench) rewind(s broker.Subscription, from time.Time) bool {
	b.Helper()
	r, ok := b.Broker.(broker.Rewinder)
	if !ok {
		return false
	}
	if err := r.Rewind(b.ctx, s, from); err != nil {
		b.Fatalf("Rewind: %v", err)
	}
	return true
}

func rewindToTime(b *bench) {
	s := broker.Subscription{Consumer: "c", Topic: "brokertest.rewind_time", Partitions: []int{0}}
	early, late := numbered(s.Topic, 0, "early", 5), numbered(s.Topic, 0, "late", 5)
	b.publish(early...)
	r := b.subscribeTo(s)
	var last time.Time
	for _, d := range b.take(r, 5) {
		b.ack(d)
		last = d.Time
	}
	b.publish(late...)
	b.takeIDs(r, 3) // two are not received, or not acknowledged
	if err := r.Close(); err != nil {
		b.Fatal(err)
	}
	if !b.rewind(s, last.Add(1)) {
		return
	}
	b.same("rewinder rule 1: what was stored at the time or later comes again", b.takeIDs(b.subscribeTo(s), 5), ids(late))
}

func rewindToBeginning(b *bench) {
	s := broker.Subscription{Consumer: "c", Topic: "brokertest.rewind_all", Partitions: []int{0, 1}, Start: broker.FromNow}
	b.publish(numbered(s.Topic, 0, "m", 5)...)
	if err := b.subscribeTo(s).Close(); err != nil {
		b.Fatal(err)
	}
	if !b.rewind(s, time.Unix(1, 0)) {
		return
	}
	r := b.subscribeTo(s)
	b.same("rewinder rule 1: all that is kept comes", b.takeIDs(r, 5), ids(numbered(s.Topic, 0, "m", 5)))
	b.publish(message(s.Topic, 1, "next"))
	b.same("and then what is new", b.takeIDs(r, 1), []string{"next"})
}

func rewindNew(b *bench) {
	s := broker.Subscription{Consumer: "new", Topic: "brokertest.rewind_new", Partitions: []int{0}, Start: broker.FromNow}
	b.publish(message(s.Topic, 0, "m"))
	if !b.rewind(s, time.Unix(1, 0)) {
		return
	}
	b.same("rewinder rule 1: also where there was no position", b.takeIDs(b.subscribeTo(s), 1), []string{"m"})
}
