package postgres_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/argosy-go/argosy/internal/pgtest"
	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/store/postgres"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// replica is a service's engine that writes down what it hears.
type replica struct {
	engine store.Engine
	heard  chan string
}

// newReplica opens the schema of a service and waits until it listens.
func newReplica(t *testing.T, service, url string) *replica {
	t.Helper()
	e, err := postgres.Opener{}.Open(t.Context(), store.OpenOptions{Service: service, URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	r := &replica{e, make(chan string, 10_000)}
	e.(store.Notifier).Subscribe(func(topic string) { r.heard <- topic })
	r.wants(t, "")
	return r
}

func (r *replica) notify(topic string) { r.engine.(store.Notifier).Notify(topic) }

// wants waits for the next topic.
func (r *replica) wants(t *testing.T, topic string) {
	t.Helper()
	select {
	case got := <-r.heard:
		if got != topic {
			t.Fatalf("heard of %q, want %q", got, topic)
		}
	case <-time.After(patience):
		t.Fatalf("did not hear of %q", topic)
	}
}

func TestReplicasOfAServiceWakeEachOther(t *testing.T) {
	url := pgtest.Database(t)
	a, b, other := newReplica(t, "order", url), newReplica(t, "order", url), newReplica(t, "payment", url)
	a.notify("outbox")
	b.wants(t, "outbox")
	b.notify("it's a topic; with \"quotes\"")
	a.wants(t, "it's a topic; with \"quotes\"")
	other.notify("payment's")
	a.notify("last")
	b.wants(t, "last") // and nothing of payment's, nor of its own
	other2 := newReplica(t, "payment", url)
	other2.notify("for payment")
	other.wants(t, "for payment") // and nothing of order's
	if len(a.heard) != 0 {
		t.Errorf("a replica hears what it notifies itself, or what another service does: %q", <-a.heard)
	}
}

func TestATransactionThatNotifiesAfterItsCommitWakesTheOtherReplica(t *testing.T) {
	url := pgtest.Database(t)
	a, b := openDB(t, postgres.Opener{}, url, table), openDB(t, postgres.Opener{}, url)
	rung := make(chan int, 100)
	defer b.Listen("t", func() {
		var n int
		err := a.Read(context.Background(), func(ctx context.Context, q store.Querier) error {
			return q.QueryRowContext(ctx, "SELECT count(*) FROM t").Scan(&n)
		})
		if err != nil {
			t.Error(err)
		}
		rung <- n
	})()
	err := a.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		tx.AfterCommit(func() { tx.DB().Notify("t") })
		return put(1)(ctx, tx)
	})
	if err != nil {
		t.Fatal(err)
	}
	for timeout := time.After(patience); ; {
		select {
		case n := <-rung:
			if n == 1 {
				return
			} // else it was the ring of a new connection
		case <-timeout:
			t.Fatal("the other replica was not woken after the commit")
		}
	}
}

func TestNotificationsOfATopicAreMerged(t *testing.T) {
	url := pgtest.Database(t)
	a, b := newReplica(t, "order", url), newReplica(t, "order", url)
	const n = 5_000
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range n / 4 {
				a.notify("busy")
			}
		})
	}
	wg.Wait()
	a.notify("end")
	heard := 0
	for {
		select {
		case topic := <-b.heard:
			heard++
			if topic != "end" {
				continue
			}
			if heard > n/4 {
				t.Errorf("%d notifications were sent one by one (%d)", n, heard)
			}
			return
		case <-time.After(patience):
			t.Fatal("the end was not heard of")
		}
	}
}

func TestTooManyTopicsAndTooLongOnesBecomeAll(t *testing.T) {
	url := pgtest.Database(t)
	a, b := newReplica(t, "order", url), newReplica(t, "order", url)
	a.notify(fmt.Sprintf("%01025d", 0))
	b.wants(t, "")
	for i := range 100_000 {
		a.notify(fmt.Sprint("topic-", i))
	}
	for timeout := time.After(patience); ; {
		select {
		case topic := <-b.heard:
			if topic == "" {
				return
			}
		case <-timeout:
			t.Fatal("what does not fit is \"\", which is all topics")
		}
	}
}

// killListeners ends the connections that listen, and returns how many there were.
const killListeners = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%(notify)' AND datname = current_database()"

func TestAListenerThatIsKilledComesBackAndRingsForWhatItMissed(t *testing.T) {
	url := pgtest.Database(t)
	a, b := newReplica(t, "order", url), newReplica(t, "order", url)
	for range 3 {
		pgtest.Exec(t, url, killListeners)
		a.wants(t, "")
		b.wants(t, "")
	}
	a.notify("again")
	b.wants(t, "again")
}

func TestWhatIsNotifiedWithoutAConnectionIsSentWhenItIsBack(t *testing.T) {
	p, through := newProxy(t, pgtest.Database(t))
	a, b := newReplica(t, "order", through), newReplica(t, "order", through)
	p.refuse.Store(true)
	p.cutAll()
	a.notify("later")
	p.refuse.Store(false)
	var empty atomic.Bool
	for timeout := time.After(patience); ; {
		select {
		case topic := <-b.heard:
			if topic == "later" || topic == "" && empty.Swap(true) {
				return
			}
			if topic == "" {
				a.notify("later") // it may have gone out before b listened again
			}
		case <-timeout:
			t.Fatal("what was notified without a connection is lost")
		}
	}
}

func TestClosingAnEngineEndsItsListener(t *testing.T) {
	url := pgtest.Database(t)
	e, err := postgres.Opener{}.Open(t.Context(), store.OpenOptions{Service: "order", URL: url})
	if err != nil {
		t.Fatal(err)
	}
	e.(store.Notifier).Notify("starts the connection")
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e.(store.Notifier).Notify("into the void")
	e.(store.Notifier).Subscribe(func(string) { t.Error("a closed engine rings") })
	other := openDB(t, postgres.Opener{}, url)
	for {
		var n int
		err := other.Read(t.Context(), func(ctx context.Context, q store.Querier) error {
			return q.QueryRowContext(ctx, "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'argosy order%' AND datname = current_database()").Scan(&n)
		})
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 { // the server sees it a little later
			return
		}
	}
}

// BenchmarkNotify is durable transactions that wake the other replica: by a
// NOTIFY of their own, or after their commit.
func BenchmarkNotify(b *testing.B) {
	inside := func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.ExecContext(ctx, "SELECT pg_notify('argosy_an_order', 't')")
		return err
	}
	after := func(_ context.Context, tx *store.Tx) error {
		tx.AfterCommit(func() { tx.DB().Notify("t") })
		return nil
	}
	none := func(context.Context, *store.Tx) error { return nil }
	for _, how := range []struct {
		name string
		wake func(context.Context, *store.Tx) error
	}{{"none", none}, {"inside", inside}, {"after", after}} {
		b.Run(how.name, func(b *testing.B) {
			db := openDB(b, postgres.Opener{MaxConns: 16}, pgtest.Database(b), table)
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for range 16 {
				wg.Go(func() {
					for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
						err := db.Do(context.Background(), func(ctx context.Context, tx *store.Tx) error {
							if err := put(int(i))(ctx, tx); err != nil {
								return err
							}
							return how.wake(ctx, tx)
						})
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tx/s")
		})
	}
}
