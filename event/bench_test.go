package event_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/argosy-go/argosy/event"
	"github.com/argosy-go/argosy/event/internal/eventpb"
	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/store"
)

// meter collects the times from publication to the commit of the handler.
type meter struct {
	mu    sync.Mutex
	times []time.Duration
	left  atomic.Int64
	done  chan struct{}
}

// handle is a consumer's function with one statement of its own.
func (m *meter) handle(ctx context.Context, tx *store.Tx, p *eventpb.Placed) error {
	meta, _ := event.FromContext(ctx)
	_, err := tx.ExecContext(ctx, "INSERT INTO effects (event_key, number, attempt) VALUES ($1, $2, 1)", p.OrderId, p.Number)
	tx.AfterCommit(func() {
		m.mu.Lock()
		m.times = append(m.times, time.Since(meta.Time))
		m.mu.Unlock()
		if m.left.Add(-1) == 0 {
			close(m.done)
		}
	})
	return err
}

// report reports percentiles.
func (m *meter) report(b *testing.B) {
	slices.Sort(m.times)
	for _, p := range []int{50, 99} {
		b.ReportMetric(float64(m.times[(len(m.times)-1)*p/100].Microseconds())/1000, fmt.Sprintf("p%d-ms", p))
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// benchmark publishes b.N events from that many callers, each in a transaction
// of its own, and ends when all are handled and committed.
func benchmark(b *testing.B, t storeTest, callers int, c config) {
	m := &meter{done: make(chan struct{})}
	m.left.Store(int64(b.N))
	var p placed
	c.declare = func(s *service.Setup) {
		p.Publisher = event.Publishes[*eventpb.Placed](s)
		event.Consume(s, m.handle)
	}
	a := start(t, c)
	b.ReportAllocs()
	b.ResetTimer()
	var next atomic.Int64
	var work sync.WaitGroup
	for range callers {
		work.Go(func() {
			for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
				p.publish(a, fmt.Sprint("order", n%1000), n)
			}
		})
	}
	work.Wait()
	<-m.done
	b.StopTimer()
	m.report(b)
	a.stop()
}

func BenchmarkFromCommitToHandler(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("broker in memory, %d callers", callers), func(b *testing.B) {
			benchOnEachStore(b, func(b *testing.B, t storeTest) { benchmark(b, t, callers, config{}) })
		})
		b.Run(fmt.Sprintf("embedded broker, %d callers", callers), func(b *testing.B) {
			benchOnEachStore(b, func(b *testing.B, t storeTest) {
				dir := b.TempDir()
				e := openBroker(b, dir)
				defer closeBroker(b, e)
				benchmark(b, t, callers, config{dir: dir, broker: e})
			})
		})
	}
}

// BenchmarkOneEvent publishes an event when the one before has been handled:
// its time is the way of one event through an idle fleet.
func BenchmarkOneEvent(b *testing.B) {
	benchOnEachStore(b, func(b *testing.B, t storeTest) {
		dir := b.TempDir()
		e := openBroker(b, dir)
		defer closeBroker(b, e)
		handled := make(chan struct{}, 1)
		var p placed
		a := start(t, config{dir: dir, broker: e, declare: func(s *service.Setup) {
			p.Publisher = event.Publishes[*eventpb.Placed](s)
			event.Consume(s, func(ctx context.Context, tx *store.Tx, m *eventpb.Placed) error {
				tx.AfterCommit(func() { handled <- struct{}{} })
				return nil
			})
		}})
		b.ResetTimer()
		for n := range b.N {
			p.publish(a, "order", int64(n))
			<-handled
		}
		b.StopTimer()
		a.stop()
	})
}
