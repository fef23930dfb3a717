package event_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/event"
	"github.com/argosy-go/argosy/event/internal/eventpb"
	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/telemetry"
)

// endOfTime is after the end of every lease.
var endOfTime = time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC)

// quick makes failed events come again at once.
var quick = event.Backoff(time.Millisecond, 2*time.Millisecond)

const consumerName = "shop/argosy.event.test.v1.Placed"

func TestEachEventHasItsEffectOnce(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		var lost sync.Map
		for name, spoil := range map[string]func(b *fake){
			"when all is well":                 func(b *fake) {},
			"when every event is delivered ×5": func(b *fake) { b.copies = 5 },
			"when first acknowledgements vanish": func(b *fake) {
				b.loseAck = func(id string) bool { _, again := lost.LoadOrStore(id, true); return !again }
			},
			"when duplicates come in any order": func(b *fake) {
				b.copies = 3
				b.shuffle = func(ds []broker.Delivery) {
					rand.Shuffle(len(ds), func(i, j int) { ds[i], ds[j] = ds[j], ds[i] })
				}
			},
		} {
			t.Run(name, func(t storeTest) {
				changed := &signal{}
				b := newFake(changed)
				spoil(b)
				var p placed
				dir := t.TempDir()
				c := config{dir: dir, broker: b, changed: changed, options: service.Options{RunTwice: true}, declare: func(s *service.Setup) {
					p.Publisher = event.Publishes[*eventpb.Placed](s)
					event.Consume(s, record, quick)
				}}
				a := start(t, c)
				for i := range 20 {
					for k := range 5 {
						p.publish(a, fmt.Sprint("key", k), int64(i))
					}
				}
				a.awaitEffects(100)
				a.stop()
				a = start(t, c) // what was not acknowledged comes again
				p.publish(a, "last", 1)
				a.await("the last event", func() bool { return len(ofKey(a.effects(), "last")) == 1 })
				if got := len(a.effects()); got != 101 {
					t.Fatalf("100 events and the last had %d effects", got)
				}
			})
		}
	})
}

func TestEventsOfOneKeyComeInOrderOfTheirCommits(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		changed := &signal{}
		b := newFake(changed)
		b.copies = 2
		var p placed
		a := start(t, config{broker: b, changed: changed, declare: func(s *service.Setup) {
			p.Publisher = event.Publishes[*eventpb.Placed](s)
			event.Consume(s, record, quick)
		}})
		var writers sync.WaitGroup
		const keys, each = 16, 20
		for k := range keys {
			writers.Go(func() {
				for n := range int64(each) {
					p.publish(a, fmt.Sprint("key", k), n)
				}
			})
		}
		writers.Wait()
		got := a.awaitEffects(keys * each)
		for k := range keys {
			if numbers := ofKey(got, fmt.Sprint("key", k)); !slices.IsSorted(numbers) || len(numbers) != each {
				t.Errorf("key %d came as %v", k, numbers)
			}
		}
	})
}

func TestAFailingEventHoldsBackItsOwnKeyOnly(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		var p placed
		var open atomic.Bool
		a := start(t, config{declare: func(s *service.Setup) {
			p.Publisher = event.Publishes[*eventpb.Placed](s)
			event.Consume(s, func(ctx context.Context, tx *store.Tx, m *eventpb.Placed) error {
				if err := record(ctx, tx, m); err != nil {
					return err
				}
				if m.OrderId == "a" && m.Number == 1 && !open.Load() {
					return errors.New("not yet")
				}
				return nil
			}, quick, event.MaxAttempts(1_000_000))
		}})
		p.publish(a, "a", 1, 2, 3)
		p.publish(a, "b", 1, 2, 3)
		a.await("b is done and a waits", func() bool {
			_, pending, _ := a.backlog()
			return len(ofKey(a.effects(), "b")) == 3 && pending == 3
		})
		if got := ofKey(a.effects(), "a"); len(got) != 0 {
			t.Fatalf("events %v went past the failing head of their key", got)
		}
		open.Store(true)
		got := a.awaitEffects(6)
		if numbers := ofKey(got, "a"); !slices.Equal(numbers, []int64{1, 2, 3}) {
			t.Fatalf("key a came as %v", numbers)
		}
		if first := got[3]; first.attempt < 2 {
			t.Errorf("the head succeeded at attempt %d, after it had failed", first.attempt)
		}
		p.publish(a, "a", 4)
		a.await("a goes on without the detour", func() bool {
			_, pending, _ := a.backlog()
			return slices.Equal(ofKey(a.effects(), "a"), []int64{1, 2, 3, 4}) && pending == 0
		})
	})
}

func TestPendingEventsSurviveARestartInOrder(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		changed := &signal{}
		var p placed
		var open atomic.Bool
		c := config{dir: t.TempDir(), broker: newFake(changed), changed: changed, declare: func(s *service.Setup) {
			p.Publisher = event.Publishes[*eventpb.Placed](s)
			event.Consume(s, func(ctx context.Context, tx *store.Tx, m *eventpb.Placed) error {
				if !open.Load() {
					return errors.New("not yet")
				}
				return record(ctx, tx, m)
			}, event.Backoff(10*time.Millisecond, 20*time.Millisecond), event.MaxAttempts(1_000_000))
		}}
		a := start(t, c)
		p.publish(a, "a", 1, 2, 3)
		a.await("three events wait", func() bool { _, pending, _ := a.backlog(); return pending == 3 })
		a.stop()
		open.Store(true)
		a = start(t, c)
		p.publish(a, "a", 4, 5)
		if got := ofKey(a.awaitEffects(5), "a"); !slices.Equal(got, []int64{1, 2, 3, 4, 5}) {
			t.Fatalf("after a restart the key came as %v", got)
		}
	})
}

func TestAnEventThatKeepsFailingBecomesADeadLetter(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		for name, fail := range map[string]func() error{
			"by an error":   func() error { return errors.New("sold out") },
			"by a panic":    func() error { panic("sold out") },
			"by its Goexit": func() error { runtime.Goexit(); return nil },
		} {
			t.Run(name, func(t storeTest) {
				var p placed
				var calls atomic.Int32
				a := start(t, config{declare: func(s *service.Setup) {
					p.Publisher = event.Publishes[*eventpb.Placed](s)
					event.Consume(s, func(ctx context.Context, tx *store.Tx, m *eventpb.Placed) error {
						if m.Number != 1 {
							return record(ctx, tx, m)
						}
						calls.Add(1)
						return errors.Join(record(ctx, tx, m), fail())
					}, quick, event.MaxAttempts(3))
				}})
				p.publish(a, "a", 1, 2)
				got := a.awaitEffects(1)
				if !slices.Equal(ofKey(got, "a"), []int64{2}) {
					t.Fatalf("effects %v, and only 2 succeeded", got)
				}
				letters := a.letters()
				if len(letters) != 1 {
					t.Fatalf("%d dead letters and not 1", len(letters))
				}
				l := letters[0]
				if l.Consumer != consumerName || l.Key != "a" || l.Type != "argosy.event.test.v1.Placed" || l.Attempts != 3 || l.ID == "" || l.Error == "" || l.Time.IsZero() {
					t.Errorf("the letter is %+v", l)
				}
				var m eventpb.Placed
				if err := proto.Unmarshal(l.Body, &m); err != nil || m.Number != 1 {
					t.Errorf("the letter holds %v, %v", &m, err)
				}
				if n := calls.Load(); n != 3 {
					t.Errorf("%d attempts and not 3", n)
				}
			})
		}
	})
}

func TestWhatCannotBeDecodedIsADeadLetterAtOnce(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		good := map[string]string{"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/x", "ce-type": "argosy.event.test.v1.Placed", "ce-subject": "k"}
		without := func(name string) map[string]string {
			h := map[string]string{}
			for k, v := range good {
				if k != name {
					h[k] = v
				}
			}
			return h
		}
		for name, m := range map[string]broker.Message{
			"a body that is no such message": {ID: "1", Header: good, Body: []byte{0xff, 0xff}},
			"no id":                          {Header: without("ce-id"), Body: []byte{}},
			"no type":                        {ID: "1", Header: without("ce-type")},
			"another version":                {ID: "1", Header: without("ce-specversion")},
			"no headers":                     {ID: "1"},
		} {
			t.Run(name, func(t storeTest) {
				changed := &signal{}
				b := newFake(changed)
				b.copies = 2
				m.Topic = "argosy.event.test.v1.Placed"
				a := start(t, config{broker: b, changed: changed, declare: func(s *service.Setup) {
					event.Consume(s, record, quick)
				}})
				b.Publish(t.Context(), []broker.Message{m})
				a.await("both copies are acknowledged", func() bool { return b.acks(consumerName, m.ID) == 2 })
				letters := a.letters()
				if len(letters) != 1 || !strings.Contains(letters[0].Error, "EVENT_UNDECODABLE") {
					t.Fatalf("dead letters %+v", letters)
				}
			})
		}
	})
}

func TestConsumersOfASharedTopicPassOverOtherTypes(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		var counted, weighed atomic.Int32
		changed := &signal{}
		b := newFake(changed)
		var c event.Publisher[*eventpb.Counted]
		var w event.Publisher[*eventpb.Weighed]
		a := start(t, config{broker: b, changed: changed, declare: func(s *service.Setup) {
			c, w = event.Publishes[*eventpb.Counted](s), event.Publishes[*eventpb.Weighed](s)
			event.Consume(s, func(context.Context, *store.Tx, *eventpb.Counted) error { counted.Add(1); return nil })
			event.Consume(s, func(context.Context, *store.Tx, *eventpb.Weighed) error { weighed.Add(1); return nil })
		}})
		a.do(func(ctx context.Context, tx *store.Tx) error {
			c.Publish(tx, &eventpb.Counted{Id: -7})
			w.Publish(tx, &eventpb.Weighed{Id: 7})
			return nil
		})
		a.await("each has its own", func() bool { return counted.Load() == 1 && weighed.Load() == 1 })
		if keys := b.published("test.shared"); !slices.Equal(keys, []string{"-7", "7"}) {
			t.Errorf("published under the keys %v", keys)
		}
	})
}

func TestAnEventPastItsExpiryIsNotHandled(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		var p placed
		now := time.Now()
		changed := &signal{}
		b := newFake(changed)
		a := start(t, config{broker: b, changed: changed, now: func() time.Time { return now }, declare: func(s *service.Setup) {
			p.Publisher = event.Publishes[*eventpb.Placed](s)
			event.Consume(s, record)
		}})
		a.do(func(ctx context.Context, tx *store.Tx) error {
			p.Publish(tx, &eventpb.Placed{OrderId: "a", Number: 1}, event.Expires(now))
			p.Publish(tx, &eventpb.Placed{OrderId: "a", Number: 2}, event.Expires(now.Add(time.Hour)))
			return nil
		})
		if got := ofKey(a.awaitEffects(1), "a"); !slices.Equal(got, []int64{2}) {
			t.Fatalf("effects of %v, and only 2 was in time", got)
		}
	})
}

func TestNamedConsumersEachGetTheEvent(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		var p placed
		a := start(t, config{declare: func(s *service.Setup) {
			p.Publisher = event.Publishes[*eventpb.Placed](s)
			event.Consume(s, record)
			event.Consume(s, record, event.Named("second"))
		}})
		p.publish(a, "a", 1)
		if got := ofKey(a.awaitEffects(2), "a"); !slices.Equal(got, []int64{1, 1}) {
			t.Fatalf("effects of %v", got)
		}
	})
}

func TestAConsumerFromNowPassesOverWhatWasPublishedBefore(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		changed := &signal{}
		b := newFake(changed)
		var p placed
		publisher := start(t, config{name: "publisher", broker: b, changed: changed, declare: func(s *service.Setup) {
			p.Publisher = event.Publishes[*eventpb.Placed](s)
		}})
		p.publish(publisher, "a", 1)
		publisher.await("the first is published", func() bool { return len(b.published("argosy.event.test.v1.Placed")) == 1 })
		a := start(t, config{broker: b, changed: changed, declare: func(s *service.Setup) {
			event.Consume(s, record, event.FromNow())
		}})
		p.publish(publisher, "a", 2)
		if got := ofKey(a.awaitEffects(1), "a"); !slices.Equal(got, []int64{2}) {
			t.Fatalf("effects of %v", got)
		}
	})
}

func TestAStaleFetcherChangesNothing(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		changed := &signal{}
		b := newFake(changed)
		var p placed
		if t.kind == store.SQLite {
			return // its file belongs to one process
		}
		a := start(t, config{broker: b, changed: changed, declare: func(s *service.Setup) {
			p.Publisher = event.Publishes[*eventpb.Placed](s)
			event.Consume(s, record, quick)
		}})
		a.await("the consumer subscribes", func() bool { return b.subscribed(consumerName) })
		a.do(func(ctx context.Context, tx *store.Tx) error { // another process takes the leases over
			for part := range 4 {
				if _, free, err := store.ClaimLease(ctx, tx, fmt.Sprintf("event/%s/%d", consumerName, part), "another", endOfTime, time.Hour); err != nil || !free {
					return errors.Join(err, errors.New("a lease is not free"))
				}
			}
			_, err := tx.ExecContext(ctx, "INSERT INTO argosy_event_replicas (instance, expires) VALUES ('another', $1)", store.At(endOfTime))
			return err
		})
		p.publish(a, "a", 1)
		a.await("the fetcher gives up", func() bool { return b.closed("shop/argosy.event.test.v1.Placed") })
		if got := a.effects(); len(got) != 0 {
			t.Errorf("effects %v of a consumer that had lost its lease", got)
		}
		if n := len(b.unacked(consumerName)); n != 1 {
			t.Errorf("the consumer acknowledged what it did not handle")
		}
	})
}

func TestTheTraceOfThePublisherReachesTheConsumer(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		const trace = "0af7651916cd43dd8448eb211c80319c"
		got := make(chan string, 1)
		var p placed
		a := start(t, config{declare: func(s *service.Setup) {
			p.Publisher = event.Publishes[*eventpb.Placed](s)
			event.Consume(s, func(ctx context.Context, tx *store.Tx, m *eventpb.Placed) error {
				if _, ok := ctx.Deadline(); !ok {
					t.Error("an attempt has no deadline of its own")
				}
				got <- telemetry.Traceparent(ctx)
				return nil
			})
		}})
		ctx, cancel := context.WithCancel(telemetry.WithTraceparent(t.Context(), "00-"+trace+"-b7ad6b7169203331-01"))
		err := a.db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
			p.Publish(tx, &eventpb.Placed{OrderId: "a"})
			return nil
		})
		cancel() // the caller is gone, the event is not
		if err != nil {
			t.Fatal(err)
		}
		select {
		case tp := <-got:
			if !strings.Contains(tp, trace) {
				t.Errorf("the consumer has the trace %q and not %q", tp, trace)
			}
		case <-time.After(patience):
			t.Fatal("the event did not arrive")
		}
	})
}

func TestTheInboxForgetsWhatNoBrokerCanReplay(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		now := time.Now()
		var p placed
		var clock atomic.Pointer[time.Time]
		clock.Store(&now)
		c := config{dir: t.TempDir(), now: func() time.Time { return *clock.Load() }, declare: func(s *service.Setup) {
			p.Publisher = event.Publishes[*eventpb.Placed](s)
			event.Consume(s, record)
		}}
		a := start(t, c)
		for i := range int64(20) {
			p.publish(a, fmt.Sprint(i), i)
		}
		a.awaitEffects(20)
		a.stop()
		for _, later := range []struct {
			age  time.Duration
			left int
		}{{8 * 24 * time.Hour, 20}, {10 * 24 * time.Hour, 0}} {
			then := now.Add(later.age)
			clock.Store(&then)
			a = start(t, c)
			if err := event.Trim(t.Context(), a.setup); err != nil {
				t.Fatal(err)
			}
			var n int
			if err := a.db.Read(t.Context(), func(ctx context.Context, q store.Querier) error {
				return q.QueryRowContext(ctx, "SELECT COUNT(*) FROM argosy_inbox").Scan(&n)
			}); err != nil {
				t.Fatal(err)
			}
			if n != later.left {
				t.Errorf("after %v the inbox holds %d and not %d", later.age, n, later.left)
			}
			a.stop()
		}
	})
}

func TestAPendingEventThatExpiresLetsItsKeyGoOn(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		now := time.Now()
		var clock atomic.Pointer[time.Time]
		clock.Store(&now)
		var p placed
		a := start(t, config{now: func() time.Time { return *clock.Load() }, declare: func(s *service.Setup) {
			p.Publisher = event.Publishes[*eventpb.Placed](s)
			event.Consume(s, func(ctx context.Context, tx *store.Tx, m *eventpb.Placed) error {
				if m.Number == 1 {
					return errors.New("never")
				}
				return record(ctx, tx, m)
			}, quick, event.MaxAttempts(1_000_000))
		}})
		a.do(func(ctx context.Context, tx *store.Tx) error {
			p.Publish(tx, &eventpb.Placed{OrderId: "a", Number: 1}, event.Expires(now.Add(time.Minute)))
			p.Publish(tx, &eventpb.Placed{OrderId: "a", Number: 2})
			return nil
		})
		a.await("both wait", func() bool { _, pending, _ := a.backlog(); return pending == 2 })
		later := now.Add(time.Hour)
		clock.Store(&later)
		if got := ofKey(a.awaitEffects(1), "a"); !slices.Equal(got, []int64{2}) {
			t.Errorf("effects of %v", got)
		}
		a.await("nothing waits", func() bool { _, pending, dead := a.backlog(); return pending+dead == 0 })
	})
}

func TestDeadLettersAreListedByConsumerAndPage(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		var p placed
		a := start(t, config{declare: func(s *service.Setup) {
			p.Publisher = event.Publishes[*eventpb.Placed](s)
			refuse := func(context.Context, *store.Tx, *eventpb.Placed) error { return errors.New("no") }
			event.Consume(s, refuse, event.MaxAttempts(1))
			event.Consume(s, refuse, event.MaxAttempts(1), event.Named("second"))
		}})
		p.publish(a, "a", 1, 2, 3)
		a.await("six dead letters", func() bool { _, _, dead := a.backlog(); return dead == 6 })
		list := func(f event.DeadLetterFilter) []event.DeadLetter {
			l, err := event.DeadLetters(t.Context(), a.db, f)
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		first := list(event.DeadLetterFilter{Limit: 4})
		rest := list(event.DeadLetterFilter{After: first[len(first)-1].Seq})
		second := list(event.DeadLetterFilter{Consumer: consumerName + "/second"})
		if len(first) != 4 || len(rest) != 2 || len(second) != 3 {
			t.Errorf("pages of %d and %d, and %d of the second consumer", len(first), len(rest), len(second))
		}
	})
}
