package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/argosy-go/argosy/store"
)

// orderRules: the order of sequence numbers and of commits.
var orderRules = []rule{
	{"nobody gets past LockKeys of a key before the transaction that has it ends", checkLockHolds},
	{"LockKeys of other keys, and of other classes, does not wait", func(t *testing.T, f *fixture) {
		if !f.target.Parallel {
			return // all transactions wait for each other
		}
		db := f.open(t)
		must(t, use(t, db, func(ctx context.Context, tx *store.Tx) error {
			if err := store.LockKeys(ctx, tx, "queue", "a"); err != nil {
				return err
			}
			return use(t, db, func(ctx context.Context, tx *store.Tx) error {
				if err := store.LockKeys(ctx, tx, "queue", "b"); err != nil {
					return err
				}
				return store.LockKeys(ctx, tx, "other", "a")
			})
		}), "transactions of different keys run side by side")
	}},
	{"once a row of a key is seen, no row of that key appears before it", checkNoRowAppearsBefore},
}

// enqueue inserts a row for each key, after it has locked them.
func enqueue(ctx context.Context, tx *store.Tx, keys ...string) error {
	if err := store.LockKeys(ctx, tx, "queue", keys...); err != nil {
		return err
	}
	for _, k := range keys {
		if _, err := tx.ExecContext(ctx, "INSERT INTO queue (key) VALUES ($1)", k); err != nil {
			return err
		}
	}
	return nil
}

func checkLockHolds(t *testing.T, f *fixture) {
	db := f.open(t)
	second := make(chan error, 1)
	var once sync.Once
	ended, early := make(chan struct{}), false
	must(t, use(t, db, func(ctx context.Context, tx *store.Tx) error {
		if err := enqueue(ctx, tx, "a", "b"); err != nil {
			return err
		}
		once.Do(func() {
			go func() {
				second <- db.Do(context.Background(), func(ctx context.Context, tx *store.Tx) error {
					if err := enqueue(ctx, tx, "b", "c"); err != nil {
						return err
					}
					select {
					case <-ended:
					default:
						early = true
					}
					return nil
				})
			}()
		})
		select { // long enough for one that does not wait
		case err := <-second:
			second <- err
		case <-time.After(idleLimit):
		}
		close(ended) // the last statement before the commit
		return nil
	}), "the first transaction commits")
	must(t, <-second, "the second transaction commits after the first")
	if early {
		t.Error("LockKeys is held until the transaction ends: another transaction got past it for the same key")
	}
}

const orderKeys = 4

func orderKey(k int) string { return fmt.Sprint("key-", k) }

// view is what a reader saw of a key.
type view struct {
	last  int64 // the highest number that was there
	count int
}

// checkNoRowAppearsBefore has 16 writers insert rows of a few keys, with
// something to do between the insert and the commit, and a reader look at all
// of it again and again.
func checkNoRowAppearsBefore(t *testing.T, f *fixture) {
	db := f.open(t)
	var views [orderKeys][]view
	stop, reader := make(chan struct{}), make(chan error, 1)
	look := func(ctx context.Context, q store.Querier) error {
		for k := range orderKeys {
			var v view
			if err := q.QueryRowContext(ctx, "SELECT COALESCE(MAX(seq), 0), COUNT(*) FROM queue WHERE key = $1", orderKey(k)).Scan(&v.last, &v.count); err != nil {
				return err
			}
			views[k] = append(views[k], v)
		}
		return nil
	}
	go func() {
		for {
			if err := db.Read(context.Background(), look); err != nil {
				reader <- err
				return
			}
			select {
			case <-stop:
				reader <- nil
				return
			default:
			}
		}
	}()
	writeKeys(t, db)
	close(stop)
	must(t, <-reader, "a read must succeed")
	for k := range orderKeys {
		for _, v := range views[k] {
			var count int
			must(t, db.Read(t.Context(), func(ctx context.Context, q store.Querier) error {
				return q.QueryRowContext(ctx, "SELECT COUNT(*) FROM queue WHERE key = $1 AND seq <= $2", orderKey(k), v.last).Scan(&count)
			}), "a read must succeed")
			if count != v.count {
				t.Fatalf("numbers of a key have the order of commits: of %s, %d rows up to %d were there, and later %d", orderKey(k), v.count, v.last, count)
			}
		}
	}
}

// writeKeys has 16 writers insert rows, of one or two keys at a time.
func writeKeys(t *testing.T, db *store.DB) {
	const writers, each = 16, 12
	var runs atomic.Int64
	var wg sync.WaitGroup
	for w := range writers {
		random := rand.New(rand.NewPCG(1, uint64(w)))
		wg.Go(func() {
			for range each {
				first, second, work := random.IntN(orderKeys), random.IntN(orderKeys), random.IntN(4)
				err := db.Do(context.Background(), func(ctx context.Context, tx *store.Tx) error {
					runs.Add(1)
					if err := enqueue(ctx, tx, orderKey(first), orderKey(second)); err != nil {
						return err
					}
					for range work {
						if _, err := tx.ExecContext(ctx, "INSERT INTO queue (key) VALUES ('another')"); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					t.Errorf("a transaction that inserts commits: got %v", err)
				}
			}
		})
	}
	wg.Wait()
	if n := runs.Load(); n != writers*each {
		t.Errorf("LockKeys puts nobody into conflict: %d transactions that only insert ran %d times", writers*each, n)
	}
}
