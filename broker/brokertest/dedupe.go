package brokertest

import (
	"fmt"

	"github.com/argosy-go/argosy/broker"
)

const dedupeRule = "rule 1: a message that was stored before, under the same id, counts as stored and is not stored again"

var dedupeRules = map[string]func(*bench){
	"dedupe/an id twice in one call":                    twiceInOneCall,
	"dedupe/a call that is repeated":                    repeatedCall,
	"dedupe/known and new ids in one call":              knownAndNew,
	"dedupe/known ids in a call of thousands":           knownInThousands,
	"dedupe/an id that was stored before a restart":     knownBeforeReopen,
	"dedupe/the same id for another topic is known too": otherTopic,
}

func twiceInOneCall(b *bench) {
	const topic = "brokertest.twice"
	a, c, d := message(topic, 0, "a"), message(topic, 0, "b"), message(topic, 0, "c")
	b.publish(a, c, a, d, c)
	b.holds(dedupeRule, topic, 0, []string{"a", "b", "c"})
}

func repeatedCall(b *bench) {
	const topic = "brokertest.repeated"
	ms := numbered(topic, 0, "m", 40)
	for range 3 {
		b.publish(ms...)
	}
	b.publish(ms[7])
	b.holds(dedupeRule, topic, 0, ids(ms))
}

func knownAndNew(b *bench) {
	const topic = "brokertest.known"
	first, second := numbered(topic, 0, "first", 10), numbered(topic, 0, "second", 10)
	b.publish(first...)
	var mixed []broker.Message
	for i := range first {
		mixed = append(mixed, first[i], second[i], message(topic, 1+i%3, fmt.Sprintf("other%d", i)))
	}
	b.publish(mixed...)
	b.holds(dedupeRule, topic, 0, append(ids(first), ids(second)...))
	b.holds(dedupeRule, topic, 1, []string{"other0", "other3", "other6", "other9"})
}

func knownInThousands(b *bench) {
	const topic = "brokertest.thousands"
	ms := numbered(topic, 0, "m", 1500)
	for i := range ms {
		ms[i].Partition = i % 4
	}
	known := []broker.Message{ms[0], ms[1], ms[700], ms[1499]}
	b.publish(known...)
	b.publish(ms...)
	for p := range 4 {
		var want []string
		for _, m := range known {
			if m.Partition == p {
				want = append(want, m.ID)
			}
		}
		for i := p; i < len(ms); i += 4 {
			if i != 0 && i != 1 && i != 700 && i != 1499 {
				want = append(want, ms[i].ID)
			}
		}
		b.holds(dedupeRule, topic, p, want)
	}
}

func knownBeforeReopen(b *bench) {
	const topic = "brokertest.reopened"
	ms := numbered(topic, 0, "m", 5)
	b.publish(ms[:3]...)
	if err := b.Close(); err != nil {
		b.Fatalf("Close: %v", err)
	}
	b.Broker = b.reopen()
	b.publish(ms...)
	b.holds(dedupeRule, topic, 0, ids(ms))
}

func otherTopic(b *bench) {
	b.publish(message("brokertest.one", 0, "same"))
	b.publish(message("brokertest.other", 0, "same"))
	b.holds("Message.ID is unique among all messages of all topics", "brokertest.other", 0, nil)
}
