package event_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/argosy-go/argosy/event"
	"github.com/argosy-go/argosy/event/internal/eventpb"
	"github.com/argosy-go/argosy/internal/pgtest"
	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/store"
)

// onPostgres runs a test of several replicas.
func onPostgres(t *testing.T, f func(t storeTest)) {
	t.Helper()
	t.Parallel()
	if pgtest.Available() {
		storeTest{TB: t, kind: store.Postgres}.Run(string(store.Postgres), f)
	}
}

// holders returns how many leases of a group each replica has.
func (a *app) holders(group string) map[string]int {
	a.t.Helper()
	n := map[string]int{}
	err := a.db.Read(context.Background(), func(ctx context.Context, q store.Querier) error {
		clear(n)
		rows, err := q.QueryContext(ctx, "SELECT holder FROM argosy_leases WHERE name LIKE $1", group+"/%")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var holder string
			if err := rows.Scan(&holder); err != nil {
				return err
			}
			n[holder]++
		}
		return rows.Err()
	})
	if err != nil {
		a.t.Fatal(err)
	}
	return n
}

// shares returns, sorted, how many partitions each of these replicas works on.
func (a *app) shares(group string, replicas ...*app) []int {
	a.t.Helper()
	holders := a.holders(group)
	var all []int
	for _, r := range replicas {
		all = append(all, holders[r.setup.Instance()])
	}
	slices.Sort(all)
	return all
}

func TestReplicasShareTheWorkAndTakeOverThatOfTheDead(t *testing.T) {
	onPostgres(t, func(t storeTest) {
		changed := &signal{}
		b := newFake(changed)
		var off atomic.Bool
		replica := func(c config) *app {
			c.broker, c.changed, c.set = b, changed, shortLeases
			c.declare = func(s *service.Setup) {
				event.Publishes[*eventpb.Placed](s)
				event.Consume(s, record)
			}
			return start(t, c)
		}
		balanced := func(want []int, at *app, all ...*app) {
			t.Helper()
			for _, group := range []string{"event/relay", "event/" + consumerName} {
				at.await(fmt.Sprintf("%s is shared as %v", group, want), func() bool { return slices.Equal(at.shares(group, all...), want) })
			}
		}
		first := replica(config{})
		balanced([]int{4}, first, first)
		second := replica(config{fail: func(context.Context, bool) error { // of which nothing is heard any more, one day
			if off.Load() {
				return errPower
			}
			return nil
		}})
		balanced([]int{2, 2}, first, first, second)
		third := replica(config{})
		balanced([]int{1, 1, 2}, first, first, second, third)
		third.stop()
		balanced([]int{2, 2}, first, first, second)
		off.Store(true)
		second.kill()
		balanced([]int{4}, first, first)
	})
}

// TestTheOrderOfPublicationIsThatOfTheCommits has the transaction that got the
// first number commit last, if it can.
func TestTheOrderOfPublicationIsThatOfTheCommits(t *testing.T) {
	onPostgres(t, func(t storeTest) {
		a, b, p := publisher(t, service.Options{})
		b.change(func() { b.away = true })
		type gate struct{}
		var mu sync.Mutex
		var committed []string
		inserted, goOn := make(chan struct{}), make(chan struct{})
		var once sync.Once
		publish := func(note string, last func()) error {
			return a.db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
				p.Publish(tx, &eventpb.Placed{OrderId: "a", Note: note})
				tx.AfterCommit(func() {
					mu.Lock()
					defer mu.Unlock()
					committed = append(committed, note)
				})
				store.Collect(tx, gate{}, func(context.Context, *store.Tx, []gate) error { last(); return nil })
				return nil
			})
		}
		var work sync.WaitGroup
		work.Go(func() {
			if err := publish("first", func() { once.Do(func() { close(inserted) }); <-goOn }); err != nil {
				t.Error(err)
			}
		})
		<-inserted
		var done atomic.Bool
		work.Go(func() {
			defer done.Store(true)
			if err := publish("second", func() {}); err != nil {
				t.Error(err)
			}
		})
		a.await("the second waits for the first, or is done", func() bool { return done.Load() || a.waitsForLock() })
		close(goOn)
		work.Wait()
		b.change(func() { b.away = false })
		a.await("both are published", func() bool { return len(b.published(placedTopic)) == 2 })
		var notes []string
		for _, m := range b.log {
			notes = append(notes, noteOf(t, m.Body))
		}
		if !slices.Equal(notes, committed) {
			t.Errorf("committed %v and published %v", committed, notes)
		}
	})
}

// waitsForLock reports whether a transaction waits for an advisory lock.
func (a *app) waitsForLock() bool {
	a.t.Helper()
	var n int
	err := a.db.Read(context.Background(), func(ctx context.Context, q store.Querier) error {
		return q.QueryRowContext(ctx, "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").Scan(&n)
	})
	if err != nil {
		a.t.Fatal(err)
	}
	return n > 0
}

// stall keeps a replica from doing anything, from when it is told to until it
// is told to go on.
type stall struct {
	mu    sync.Mutex
	armed bool          // the next attempt at an event begins it
	gate  chan struct{} // nil: nothing is held up
	lost  atomic.Int64  // transactions that were refused for a lost lease
}

func (s *stall) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gate = make(chan struct{})
}

// arm makes the replica stand still as it begins to handle an event.
func (s *stall) arm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed = true
}

func (s *stall) stands() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gate != nil
}

func (s *stall) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gate != nil { // nil when it is ended again, by the end of the test
		close(s.gate)
	}
	s.gate, s.armed = nil, false
}

func (s *stall) pass(ctx context.Context, committed bool) error {
	s.mu.Lock()
	if _, attempt := event.FromContext(ctx); attempt && s.armed && s.gate == nil {
		s.gate = make(chan struct{})
	}
	gate := s.gate
	s.mu.Unlock()
	if gate != nil {
		<-gate
	}
	return nil
}

func TestAReplicaThatStoodStillChangesNothingWhenItGoesOn(t *testing.T) {
	onPostgres(t, func(t storeTest) {
		changed := &signal{}
		b := newFake(changed)
		var p placed
		st := &stall{}
		replica := func(c config, handle func(context.Context, *store.Tx, *eventpb.Placed) error) *app {
			c.broker, c.changed, c.set = b, changed, shortLeases
			c.declare = func(s *service.Setup) {
				p.Publisher = event.Publishes[*eventpb.Placed](s)
				event.Consume(s, handle, quick, event.MaxAttempts(1_000_000))
			}
			return start(t, c)
		}
		stale := replica(config{fail: st.pass, lost: &st.lost}, record)
		stale.await("the first has all", func() bool { return slices.Equal(stale.shares("event/"+consumerName, stale), []int{4}) })
		t.Cleanup(st.end)
		st.arm()
		b.Publish(t.Context(), messageOf(t, "a", 1))
		changed.await(t, "the stale one has it in its hands", st.stands)
		fresh := replica(config{}, func(context.Context, *store.Tx, *eventpb.Placed) error { return errors.New("not yet") })
		fresh.await("the other takes over", func() bool { return slices.Equal(fresh.shares("event/"+consumerName, fresh), []int{4}) })
		fresh.await("and cannot handle it", func() bool { _, pending, _ := fresh.backlog(); return pending == 1 })
		st.end()
		fresh.await("the stale one is refused, or has an effect", func() bool { return st.lost.Load() > 0 || len(fresh.effects()) > 0 })
		for _, e := range fresh.effects() { // it may have its share again, and try what is pending
			if e.attempt == 1 {
				t.Errorf("a replica that had lost its lease had the effect %v", e)
			}
		}
	})
}
