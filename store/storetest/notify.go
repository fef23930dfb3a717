package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/argosy-go/argosy/store"
)

// notifyRules: waking those who wait for something new.
var notifyRules = []rule{
	{"Notify rings those who listen to the topic, and stop ends it", func(t *testing.T, f *fixture) {
		db := f.handle()
		rung, other := make(chan bool, 100), make(chan bool, 100)
		stop := db.Listen("topic", func() { rung <- true })
		db.Listen("other", func() { other <- true })
		f.openDB(t, db)
		db.Notify("topic")
		await(t, rung, "Notify rings who listens in the same process, also when it began to before Open")
		stop()
		for len(rung) > 0 {
			<-rung
		}
		db.Notify("topic")
		if len(rung) > 0 {
			t.Error("a listener that has stopped is not rung")
		}
	}},
	{"a function that runs after the commit may notify, and what it tells of is there", func(t *testing.T, f *fixture) {
		db := f.open(t)
		rung := make(chan int, 100)
		db.Listen("topic", func() {
			var n int
			_ = db.Read(context.Background(), func(ctx context.Context, q store.Querier) error {
				return q.QueryRowContext(ctx, "SELECT COUNT(*) FROM item").Scan(&n)
			})
			rung <- n
		})
		must(t, db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			tx.AfterCommit(func() { db.Notify("topic") })
			return insert(1)(ctx, tx)
		}), "Do must commit")
		for timeout := time.After(patience); ; {
			select {
			case n := <-rung:
				if n == 1 {
					return
				} // else it was rung when it began to listen
			case <-timeout:
				t.Fatal("who is rung after a commit sees what was committed")
			}
		}
	}},
}
