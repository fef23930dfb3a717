package event_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/argosy-go/argosy/event"
	"github.com/argosy-go/argosy/event/internal/eventpb"
	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/store"
)

// TestAStormKeepsTheOrderOfEveryKeyAndEveryEffectSingle has 16 writers publish,
// while every event is delivered five times, one in 50 fails at first, and the
// process that relays and handles is lost twice: on Postgres a replica stands
// still past its lease and goes on, on SQLite the service is killed and starts
// again. With ARGOSY_LONG=1 it is 100,000 events instead of 800.
func TestAStormKeepsTheOrderOfEveryKeyAndEveryEffectSingle(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		s := &storm{t: t, changed: &signal{}, failed: map[string]bool{}, total: 800}
		if long() {
			s.total = 100_000
		}
		s.broker = newFake(s.changed)
		s.broker.copies = 5
		s.app = s.start(nil)
		var stop func()
		disturb := s.restart
		if t.kind == store.Postgres {
			disturb, stop = s.stalled()
		}
		s.write(disturb)
		if stop != nil {
			stop()
		}
		for n := s.count(); n < s.total; { // as long as it goes on
			had := n
			s.app.await(fmt.Sprintf("more than %d of %d effects", had, s.total), func() bool { n = s.count(); return n > had })
		}
		s.app.await("nothing waits", s.still)
		s.check()
	})
}

const stormWriters, stormKeys = 16, 4 // keys a writer

type storm struct {
	t       storeTest
	changed *signal
	broker  *fake
	total   int
	dir     string
	placed  placed

	mu     sync.Mutex
	failed map[string]bool // events that have had their failure

	gate sync.RWMutex // held for writing while app is replaced
	app  *app
}

// start starts the service, or another replica of it.
func (s *storm) start(fail func(context.Context, bool) error) *app {
	if s.dir == "" {
		s.dir = s.t.TempDir()
	}
	return start(s.t, config{dir: s.dir, broker: s.broker, changed: s.changed, fail: fail, set: shortLeases, declare: func(setup *service.Setup) {
		s.placed.Publisher = event.Publishes[*eventpb.Placed](setup)
		event.Consume(setup, s.handle, quick, event.MaxAttempts(1_000_000))
	}})
}

func (s *storm) handle(ctx context.Context, tx *store.Tx, m *eventpb.Placed) error {
	if m.Number%50 == 7 {
		name := fmt.Sprint(m.OrderId, m.Number)
		s.mu.Lock()
		first := !s.failed[name]
		s.failed[name] = true
		s.mu.Unlock()
		if first {
			return errors.New("not at first")
		}
	}
	return record(ctx, tx, m)
}

// write publishes everything, and disturbs it at a third and at two thirds.
func (s *storm) write(disturb func()) {
	var left atomic.Int64
	left.Store(int64(s.total))
	var work sync.WaitGroup
	for w := range stormWriters {
		work.Go(func() {
			for n := range s.total / stormWriters {
				if err := s.publish(fmt.Sprintf("key%d-%d", w, n%stormKeys), int64(n/stormKeys)); err != nil {
					s.t.Errorf("publish: %v", err)
					return
				}
				switch left.Add(-1) {
				case int64(s.total) / 3, int64(s.total) * 2 / 3:
					disturb()
				}
			}
		})
	}
	work.Wait()
}

func (s *storm) publish(key string, number int64) error {
	s.gate.RLock()
	defer s.gate.RUnlock()
	return s.app.db.Do(context.Background(), func(ctx context.Context, tx *store.Tx) error {
		s.placed.Publish(tx, &eventpb.Placed{OrderId: key, Number: number})
		return nil
	})
}

// restart kills the service in the midst of its work and starts it again.
func (s *storm) restart() {
	s.gate.Lock()
	defer s.gate.Unlock()
	s.app.kill()
	s.app = s.start(nil)
}

// stalled starts a second replica and returns what lets it stand still until
// the first has taken all its work over, and what ends it.
func (s *storm) stalled() (disturb, stop func()) {
	st := &stall{}
	own := s.placed
	second := s.start(st.pass)
	s.placed = own // the first publishes
	groups := []string{"event/relay", "event/" + consumerName}
	var one sync.Mutex // the writers go on, and may come to the next one meanwhile
	return func() {
		one.Lock()
		defer one.Unlock()
		st.begin()
		defer st.end()
		for _, group := range groups {
			s.app.await("the first takes over "+group, func() bool { return s.app.shares(group, s.app)[0] == 4 })
		}
	}, second.stop
}

// count returns how many effects there are.
func (s *storm) count() (n int) {
	s.t.Helper()
	err := s.app.db.Read(context.Background(), func(ctx context.Context, q store.Querier) error {
		return q.QueryRowContext(ctx, "SELECT COUNT(*) FROM effects").Scan(&n)
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// still reports whether nothing waits.
func (s *storm) still() bool {
	outbox, pending, _ := s.app.backlog()
	return outbox+pending == 0
}

// check compares the effects with what was published.
func (s *storm) check() {
	s.t.Helper()
	next := map[string]int64{}
	for _, e := range s.app.effects() {
		if e.number != next[e.key] {
			s.t.Fatalf("of key %s came %d, and %d was next", e.key, e.number, next[e.key])
		}
		next[e.key]++
	}
	if n := s.count(); n != s.total {
		s.t.Errorf("%d events had %d effects", s.total, n)
	}
}
