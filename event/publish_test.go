package event_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/event"
	"github.com/argosy-go/argosy/event/internal/eventpb"
	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/telemetry"
)

const placedTopic = "argosy.event.test.v1.Placed"

// publisher starts a service that publishes, over a fake broker.
func publisher(t storeTest, options service.Options) (*app, *fake, placed) {
	changed := &signal{}
	b := newFake(changed)
	var p placed
	a := start(t, config{broker: b, changed: changed, options: options, declare: func(s *service.Setup) {
		p.Publisher = event.Publishes[*eventpb.Placed](s)
	}})
	return a, b, p
}

func TestAnEventIsPublishedIfAndOnlyIfItsTransactionCommits(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		a, b, p := publisher(t, service.Options{RunTwice: true})
		undone := errors.New("undone")
		err := a.db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			p.Publish(tx, &eventpb.Placed{OrderId: "rolled back"})
			return undone
		})
		if !errors.Is(err, undone) {
			t.Fatal(err)
		}
		a.do(func(ctx context.Context, tx *store.Tx) error {
			p.Publish(tx, &eventpb.Placed{OrderId: "first"})
			if err := tx.Try(ctx, func(ctx context.Context, tx *store.Tx) error {
				p.Publish(tx, &eventpb.Placed{OrderId: "tried in vain"})
				return undone
			}); !errors.Is(err, undone) {
				return err
			}
			p.Publish(tx, &eventpb.Placed{OrderId: "second"})
			return nil
		})
		a.await("two events are published", func() bool { outbox, _, _ := a.backlog(); return outbox == 0 && len(b.published(placedTopic)) >= 2 })
		if got := slices.Sorted(slices.Values(b.published(placedTopic))); !slices.Equal(got, []string{"first", "second"}) {
			t.Fatalf("published %q", got)
		}
	})
}

func TestAnEventTravelsAsACloudEvent(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		now := time.Date(2031, 2, 3, 4, 5, 6, 789_000, time.UTC)
		a, b, p := publisher(t, service.Options{Now: func() time.Time { return now }})
		sent := &eventpb.Placed{OrderId: "ø 1", Number: 7, Note: "n"}
		a.do(func(ctx context.Context, tx *store.Tx) error {
			p.Publish(tx, sent, event.Expires(now.Add(time.Hour)))
			sent.Note = "changed after it was published"
			return nil
		})
		a.await("the event is published", func() bool { return len(b.published(placedTopic)) == 1 })
		m := b.log[0]
		for name, want := range map[string]string{
			"ce-specversion": "1.0", "ce-source": "/shop", "ce-type": placedTopic, "ce-subject": "ø 1",
			"ce-time": "2031-02-03T04:05:06.000789Z", "ce-expirytime": "2031-02-03T05:05:06.000789Z", "content-type": "application/protobuf", "ce-id": m.ID,
		} {
			if m.Header[name] != want {
				t.Errorf("%s is %q and not %q", name, m.Header[name], want)
			}
		}
		var got eventpb.Placed
		if err := proto.Unmarshal(m.Body, &got); err != nil || got.Note != "n" || got.Number != 7 {
			t.Errorf("the body is %v, %v", &got, err)
		}
		if m.ID == "" || m.Partition < 0 || m.Partition > 3 {
			t.Errorf("id %q, partition %d", m.ID, m.Partition)
		}
	})
}

func TestWhatCannotBePublishedFailsTheTransaction(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		a, b, p := publisher(t, service.Options{})
		b.limit = 2000
		other := start(t, config{name: "other", declare: func(s *service.Setup) {}})
		for name, c := range map[string]struct {
			app    *app
			p      event.Publisher[*eventpb.Placed]
			m      *eventpb.Placed
			reason string
			code   codes.Code
		}{
			"an event that is too large":       {a, p.Publisher, &eventpb.Placed{OrderId: "a", Note: strings.Repeat("x", 2000)}, "EVENT_TOO_LARGE", codes.InvalidArgument},
			"an event without its key":         {a, p.Publisher, &eventpb.Placed{Note: "x"}, "EVENT_KEY_EMPTY", codes.Internal},
			"a nil event":                      {a, p.Publisher, nil, "EVENT_NIL", codes.Internal},
			"invalid UTF-8":                    {a, p.Publisher, &eventpb.Placed{OrderId: "a", Note: "\xff"}, "EVENT_INVALID", codes.Internal},
			"a publisher that is not declared": {a, event.Publisher[*eventpb.Placed]{}, &eventpb.Placed{OrderId: "a"}, "PUBLISHER_NOT_DECLARED", codes.Internal},
			"another service's transaction":    {other, p.Publisher, &eventpb.Placed{OrderId: "a"}, "FOREIGN_TRANSACTION", codes.Internal},
		} {
			t.Run(name, func(t storeTest) {
				err := c.app.db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
					c.p.Publish(tx, c.m)
					return nil
				})
				if f := fault.From(err); f == nil || f.Reason != c.reason || f.Code != c.code {
					t.Fatalf("got %v and not %s", err, c.reason)
				}
			})
		}
		if outbox, _, _ := a.backlog(); outbox != 0 {
			t.Errorf("%d events in the outbox", outbox)
		}
	})
}

func TestWithTheBrokerAwayEventsWaitAndThenGoOutInOrder(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		a, b, p := publisher(t, service.Options{})
		b.change(func() { b.away = true })
		var want []string
		for i := range 600 { // more than one batch
			key := fmt.Sprint("key", i)
			want = append(want, key)
			p.publish(a, key, 1)
		}
		if outbox, _, _ := a.backlog(); outbox != 600 {
			t.Fatalf("%d of 600 events wait", outbox)
		}
		b.change(func() { b.away = false })
		a.await("the outbox is empty", func() bool { outbox, _, _ := a.backlog(); return outbox == 0 })
		if !b.inOrder(placedTopic, want) {
			t.Errorf("published %d events, not in the order of their commits", len(b.published(placedTopic)))
		}
	})
}

func TestTheServiceStartsWithTheBrokerAway(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		changed := &signal{}
		b := newFake(changed)
		b.away = true
		var p placed
		a := start(t, config{broker: b, changed: changed, declare: func(s *service.Setup) {
			p.Publisher = event.Publishes[*eventpb.Placed](s)
			event.Consume(s, record)
		}})
		p.publish(a, "a", 1)
		b.change(func() { b.away = false })
		a.awaitEffects(1)
	})
}

func TestARefusedEventHoldsBackItsPartitionOnly(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		a, b, p := publisher(t, service.Options{})
		b.change(func() {
			b.refuse = func(m broker.Message) error {
				if m.Header["ce-subject"] == "a" {
					return errors.New("no")
				}
				return nil
			}
		})
		a.do(func(ctx context.Context, tx *store.Tx) error {
			for i := range 3 {
				p.Publish(tx, &eventpb.Placed{OrderId: "a", Number: int64(i)})
				for _, other := range []string{"b", "c", "d", "e", "f", "g"} {
					p.Publish(tx, &eventpb.Placed{OrderId: other, Number: int64(i)})
				}
			}
			return nil
		})
		a.await("the other partitions go on", func() bool { return len(b.published(placedTopic)) >= 9 })
		if slices.Contains(b.published(placedTopic), "a") {
			t.Fatal("the refused event was published")
		}
		b.change(func() { b.refuse = nil })
		a.await("the outbox is empty", func() bool { outbox, _, _ := a.backlog(); return outbox == 0 })
		if got := len(b.published(placedTopic)); got != 21 {
			t.Errorf("published %d of 21", got)
		}
	})
}

func TestAnEventThatTheBrokerWillNeverTakeBecomesADeadLetter(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		for name, refusal := range map[string]error{"too large": broker.ErrTooLarge, "not to be written down": fault.Invalid("header", "it cannot be written down")} {
			t.Run(name, func(t storeTest) {
				a, b, p := publisher(t, service.Options{})
				b.change(func() {
					b.refuse = func(m broker.Message) error {
						if m.Header["ce-subject"] == "a" {
							return refusal
						}
						return nil
					}
				})
				p.publish(a, "a", 1)
				p.publish(a, "b", 1)
				a.await("the outbox is empty", func() bool { outbox, _, _ := a.backlog(); return outbox == 0 })
				if l := a.letters(); len(l) != 1 || l[0].Consumer != "" || l[0].Key != "a" || l[0].Type != placedTopic {
					t.Errorf("dead letters %+v", l)
				}
			})
		}
	})
}

func TestAFullOutboxRefusesEvents(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		changed := &signal{}
		b := newFake(changed)
		b.away = true
		var p placed
		a := start(t, config{broker: b, changed: changed, declare: func(s *service.Setup) {
			p.Publisher = event.Publishes[*eventpb.Placed](s)
		}, set: func(s *event.Settings) { s.OutboxLimit = 3 }})
		publish := func() error {
			return a.db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
				p.Publish(tx, &eventpb.Placed{OrderId: "a"})
				return nil
			})
		}
		var err error
		for n := 0; n <= 3 && err == nil; n++ {
			err = publish()
		}
		if !errors.Is(err, event.ErrOutboxFull) || fault.From(err).RetryAfter == 0 || !fault.From(err).NotDone {
			t.Fatalf("with 3 events in an outbox of 3, publishing gave %v", err)
		}
		b.change(func() { b.away = false })
		a.await("there is room again", func() bool { return publish() == nil })
	})
}

func TestDrainHandsOverWhatIsLeft(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		changed := &signal{}
		b := newFake(changed)
		var p placed
		a := start(t, config{broker: b, changed: changed, declare: func(s *service.Setup) {
			p.Publisher = event.Publishes[*eventpb.Placed](s)
		}})
		for i := range 50 {
			p.publish(a, fmt.Sprint(i), 1)
		}
		a.stop()
		if got := len(b.published(placedTopic)); got != 50 {
			t.Errorf("published %d of 50 before the end", got)
		}
	})
}

func TestADatabaseWithoutTheTablesHasNoBacklog(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		a := start(t, config{declare: func(s *service.Setup) {}})
		if outbox, pending, dead := a.backlog(); outbox+pending+dead != 0 {
			t.Errorf("backlog %d, %d, %d", outbox, pending, dead)
		}
	})
}

func TestServicesOfAProcessShareTheMetrics(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		changed := &signal{}
		b := newFake(changed)
		tel := telemetry.Discard()
		for _, name := range []string{"one", "two"} {
			var p placed
			a := start(t, config{name: name, broker: b, changed: changed, options: service.Options{Telemetry: tel}, declare: func(s *service.Setup) {
				p.Publisher = event.Publishes[*eventpb.Placed](s)
				event.Consume(s, record)
			}})
			p.publish(a, name, 1)
			a.await("the own event is handled", func() bool { return len(ofKey(a.effects(), name)) == 1 })
			a.stop()
		}
		families, err := tel.Registry().Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, f := range families {
			for _, m := range f.Metric {
				for _, l := range m.Label {
					if l.GetName() == "service" {
						got[f.GetName()+" "+l.GetValue()] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
					}
				}
			}
		}
		for name, want := range map[string]float64{
			"argosy_events_published_total one": 1, "argosy_events_published_total two": 1, "argosy_publish_failures_total one": 0,
			"argosy_events_handled_total one": 1, "argosy_events_handled_total two": 2, "argosy_outbox_depth two": 0,
		} {
			if v, ok := got[name]; !ok || v != want {
				t.Errorf("%s is %v and not %v", name, v, want)
			}
		}
	})
}

func TestLargeEventsGoOutInSeveralBatches(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		a, b, p := publisher(t, service.Options{})
		b.change(func() { b.away = true })
		note := strings.Repeat("x", 900_000)
		var want []string
		for i := range 12 {
			want = append(want, fmt.Sprint("key", i))
			a.do(func(ctx context.Context, tx *store.Tx) error {
				p.Publish(tx, &eventpb.Placed{OrderId: want[i], Note: note})
				return nil
			})
		}
		b.change(func() { b.away, b.calls = false, 0 })
		a.await("the outbox is empty", func() bool { outbox, _, _ := a.backlog(); return outbox == 0 })
		if !b.inOrder(placedTopic, want) {
			t.Errorf("published %v", b.published(placedTopic))
		}
		if b.calls < 3 {
			t.Errorf("10 MB went out in %d batches", b.calls)
		}
	})
}
