package store

import (
	"sync"
)

// Notifier is what an [Engine] may have besides: a way to wake the other
// processes that use the same database.
//
//  1. Notify returns at once and tells the other processes soon. Notifications
//     of one topic may be merged into one, and may be lost: whoever listens
//     polls as well.
//  2. Subscribe makes f hear of what other processes notify. Once it hears,
//     and after each time that something may have been missed, f is called
//     with the topic "". f must be quick. One function at a time: the handle
//     of the database is the only subscriber.
type Notifier interface {
	Notify(topic string)
	Subscribe(f func(topic string))
}

// bells are the listeners of a database in this process.
type bells struct {
	mu     sync.Mutex
	topics map[string][]*bell
}

type bell struct{ ring func() }

// Notify wakes those who listen to the topic: in this process at once, and in
// others where the engine can ([Notifier]). Call it after the commit
// (Tx.AfterCommit) of what they should look at. It is a hint and may be lost.
func (db *DB) Notify(topic string) {
	db.bells.ring(topic)
	if e := db.engine.Load(); e != nil {
		if n, ok := (*e).(Notifier); ok {
			n.Notify(topic)
		}
	}
}

// Listen makes ring be called whenever there may be something new for topic,
// on a goroutine of somebody else: it must be quick and must not block. It is
// a hint and may be lost, so the listener polls as well. It is legal before
// Open. stop ends it; a call that is under way may still end after stop.
func (db *DB) Listen(topic string, ring func()) (stop func()) {
	b := &bell{ring}
	db.bells.mu.Lock()
	defer db.bells.mu.Unlock()
	if db.bells.topics == nil {
		db.bells.topics = map[string][]*bell{}
	}
	db.bells.topics[topic] = append(db.bells.topics[topic], b)
	return func() { db.bells.remove(topic, b) }
}

func (s *bells) remove(topic string, b *bell) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.topics[topic]
	kept := make([]*bell, 0, len(old))
	for _, other := range old {
		if other != b {
			kept = append(kept, other)
		}
	}
	s.topics[topic] = kept
}

// ring calls the listeners of a topic, and all of them for "".
func (s *bells) ring(topic string) {
	s.mu.Lock()
	var wake []*bell
	if topic == "" {
		for _, bs := range s.topics {
			wake = append(wake, bs...)
		}
	} else {
		wake = s.topics[topic] // replaced, never changed in place beyond its length
	}
	s.mu.Unlock()
	for _, b := range wake {
		b.ring()
	}
}
