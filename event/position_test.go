package event_test

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/event"
	"github.com/argosy-go/argosy/event/internal/eventpb"
	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/store"
)

// published starts a service that only publishes, over the embedded broker in dir.
func published(t storeTest, dir string) (a *app, p placed, c config) {
	b := openBroker(t, dir)
	t.Cleanup(func() { closeBroker(t, b) })
	c = config{name: "publisher", dir: dir, broker: b, declare: func(s *service.Setup) {
		p.Publisher = event.Publishes[*eventpb.Placed](s)
	}}
	a = start(t, c)
	return a, p, c
}

func (a *app) awaitSent() {
	a.t.Helper()
	a.await("all is sent", func() bool { outbox, _, _ := a.backlog(); return outbox == 0 })
}

func TestANewConsumerBeginsWhereItSays(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		out, p, c := published(t, t.TempDir())
		p.publish(out, "a", 1, 2)
		out.awaitSent()
		c.name, c.declare = "oldest", func(s *service.Setup) { event.Consume(s, record) }
		oldest := start(t, c)
		c.name, c.declare = "newest", func(s *service.Setup) { event.Consume(s, record, event.FromNow()) }
		newest := start(t, c)
		p.publish(out, "a", 3)
		if got := ofKey(oldest.awaitEffects(3), "a"); !slices.Equal(got, []int64{1, 2, 3}) {
			t.Errorf("from the beginning came %v", got)
		}
		if got := ofKey(newest.awaitEffects(1), "a"); !slices.Equal(got, []int64{3}) {
			t.Errorf("from now came %v", got)
		}
		newest.stop()
		p.publish(out, "a", 4) // while it is away
		out.awaitSent()
		newest = start(t, c)
		if got := ofKey(newest.awaitEffects(2), "a"); !slices.Equal(got, []int64{3, 4}) {
			t.Errorf("after a restart came %v", got)
		}
	})
}

func TestAConsumerIsSentBackToATimeWithoutDoublingAnEffect(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		out, p, c := published(t, t.TempDir())
		var handled atomic.Int64
		c.name, c.declare = "shop", func(s *service.Setup) {
			event.Consume(s, func(ctx context.Context, tx *store.Tx, m *eventpb.Placed) error {
				handled.Add(1)
				return record(ctx, tx, m)
			})
		}
		a := start(t, c)
		begun := time.Now().Add(-time.Second)
		p.publish(out, "a", 1, 2, 3)
		a.awaitEffects(3)
		var last string // ids rise with time
		if err := a.db.Read(t.Context(), func(ctx context.Context, q store.Querier) error {
			return q.QueryRowContext(ctx, "SELECT MAX(id) FROM argosy_inbox").Scan(&last)
		}); err != nil {
			t.Fatal(err)
		}
		p.publish(out, "b", 1, 2, 3)
		a.awaitEffects(6)
		a.do(func(ctx context.Context, tx *store.Tx) error { // all since then is lost, as by restoring a backup
			if _, err := tx.ExecContext(ctx, "DELETE FROM argosy_inbox WHERE id > $1", last); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, "DELETE FROM effects WHERE event_key = 'b'")
			return err
		})
		handled.Store(0)
		var answer map[string]any
		if code := a.ask("POST", "/consumers/"+url.PathEscape(consumerName)+"/replay", `{"from":"`+begun.Format(time.RFC3339Nano)+`","reason":"the backup"}`, &answer); code != 200 {
			t.Fatalf("%d %v", code, answer)
		}
		got := a.awaitEffects(6)
		if a, b := ofKey(got, "a"), ofKey(got, "b"); !slices.Equal(a, []int64{1, 2, 3}) || !slices.Equal(b, []int64{1, 2, 3}) {
			t.Errorf("after the replay there are %v of a and %v of b", a, b)
		}
		p.publish(out, "a", 4)
		a.awaitEffects(7)
		if n := handled.Load(); n != 4 {
			t.Errorf("%d events were handled, and 3 were lost and 1 new", n)
		}
		records, err := event.Audit(t.Context(), a.db, 0)
		if err != nil || len(records) != 1 || records[0].Action != event.ActionRewind || records[0].Consumer != consumerName || records[0].Actor != "clerk" {
			t.Errorf("records %+v, %v", records, err)
		}
	})
}

func TestAConsumerThatIsNotThereCannotBeSentBack(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		a, _, _ := grumpy(t)
		var problem fault.Problem
		for path, code := range map[string]int{"/consumers/nobody/replay": 404, "/consumers/" + url.PathEscape(consumerName) + "/replay": 501} { // the fake cannot
			if got := a.ask("POST", path, `{"from":"2020-01-01T00:00:00Z"}`, &problem); got != code {
				t.Errorf("POST %s gave %d %+v", path, got, problem)
			}
		}
		if err := event.ReplayConsumer(t.Context(), a.db, consumerName, time.Time{}, clerk); fault.CodeOf(err) != codes.InvalidArgument {
			t.Errorf("replaying from no time gave %v", err)
		}
	})
}

func TestNoMoreEventsAreHandledAtOnceThanConcurrencySays(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		const limit, events = 2, 24
		var p placed
		var now, most atomic.Int64
		goOn := make(chan struct{})
		release := sync.OnceFunc(func() { close(goOn) })
		a := start(t, config{declare: func(s *service.Setup) {
			p.Publisher = event.Publishes[*eventpb.Placed](s)
			event.Consume(s, func(ctx context.Context, tx *store.Tx, m *eventpb.Placed) error {
				n := now.Add(1)
				defer now.Add(-1)
				for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
				}
				<-goOn
				return record(ctx, tx, m)
			}, event.Concurrency(limit))
		}})
		t.Cleanup(release)
		for n := range int64(events) { // of many keys, in all partitions
			p.publish(a, fmt.Sprint("key", n), n)
		}
		at := int64(limit)
		if t.kind == store.SQLite { // its transactions run one at a time
			at = 1
		}
		a.await("as many are handled as may be", func() bool { return now.Load() >= at })
		release()
		a.awaitEffects(events)
		if n := most.Load(); n > limit || n < at {
			t.Errorf("%d events were handled at once, and the limit is %d", n, limit)
		}
	})
}
