package postgres_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/internal/pgtest"
	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/store/postgres"
)

// openAt opens the database of a service that declares a level.
func openAt(tb testing.TB, level store.Isolation, conns int, url string, prepare ...func(*store.DB)) *store.DB {
	tb.Helper()
	db := store.NewDB("an-order")
	db.Isolation(level)
	db.Migrations("set0", table)
	for _, p := range prepare {
		p(db)
	}
	if err := db.Open(context.Background(), postgres.Opener{MaxConns: conns}, store.OpenOptions{URL: url}); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Error(err)
		}
	})
	return db
}

func TestAServiceHasTheLevelThatItDeclares(t *testing.T) {
	url := pgtest.Database(t)
	for level, want := range map[store.Isolation]string{
		store.Serializable: "serializable", store.RepeatableRead: "repeatable read", store.ReadCommitted: "read committed",
	} {
		db := openAt(t, level, 2, url)
		var got, read string
		err := errors.Join(db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			return tx.QueryRowContext(ctx, "SHOW transaction_isolation").Scan(&got)
		}), db.Read(t.Context(), func(ctx context.Context, q store.Querier) error {
			return q.QueryRowContext(ctx, "SHOW transaction_isolation").Scan(&read)
		}))
		if err != nil || got != want || read != "repeatable read" {
			t.Errorf("writes are %s and reads %s, want %s and repeatable read: %v", got, read, want, err)
		}
	}
}

func TestAMechanismMayAskForReadCommitted(t *testing.T) {
	db := openAt(t, store.Serializable, 2, pgtest.Database(t))
	var got, next string
	level := func(into *string) func(context.Context, *store.Tx) error {
		return func(ctx context.Context, tx *store.Tx) error {
			return tx.QueryRowContext(ctx, "SHOW transaction_isolation").Scan(into)
		}
	}
	err := errors.Join(db.Do(store.RowByRow(t.Context()), level(&got)), db.Do(t.Context(), level(&next)))
	if err != nil || got != "read committed" || next != "serializable" {
		t.Errorf("row by row is %s, and the next transaction %s: %v", got, next, err)
	}
}

// increment reads a number and writes the next one.
func increment(ctx context.Context, tx *store.Tx) error {
	var n int
	if err := tx.QueryRowContext(ctx, "SELECT a FROM t WHERE id = 1").Scan(&n); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "UPDATE t SET a = $1 WHERE id = 1", n+1)
	return err
}

func TestConflictsAreRunAgainUntilAllHaveCommitted(t *testing.T) {
	const writers, each = 16, 20
	for _, level := range []store.Isolation{store.Serializable, store.RepeatableRead} {
		url := pgtest.Database(t)
		replicas := []*store.DB{openAt(t, level, 8, url), openAt(t, level, 8, url)}
		if err := replicas[0].Do(t.Context(), put(0)); err != nil {
			t.Fatal(err)
		}
		var runs atomic.Int64
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for range each {
					err := replicas[w%2].Do(context.Background(), func(ctx context.Context, tx *store.Tx) error {
						runs.Add(1)
						return increment(ctx, tx)
					})
					if err != nil {
						t.Errorf("with %d writers of one row: %v", writers, err)
					}
				}
			})
		}
		wg.Wait()
		var n int
		err := replicas[0].Read(t.Context(), func(ctx context.Context, q store.Querier) error {
			return q.QueryRowContext(ctx, "SELECT a FROM t WHERE id = 1").Scan(&n)
		})
		if err != nil || n != writers*each {
			t.Errorf("%d increments make %d, %v", writers*each, n, err)
		}
		if runs.Load() == writers*each {
			t.Error("there was no conflict")
		}
		t.Logf("%d runs of %d transactions on one row", runs.Load(), writers*each)
	}
}

func TestAnUpdateIsLostUnderReadCommittedOnly(t *testing.T) {
	for level, want := range map[store.Isolation]int{store.Serializable: 2, store.RepeatableRead: 2, store.ReadCommitted: 1} {
		url := pgtest.Database(t)
		db := openAt(t, level, 4, url)
		if err := db.Do(t.Context(), put(0)); err != nil {
			t.Fatal(err)
		}
		var both, wg sync.WaitGroup
		both.Add(2)
		for range 2 {
			wg.Go(func() {
				once := sync.OnceFunc(func() { both.Done(); both.Wait() })
				err := db.Do(context.Background(), func(ctx context.Context, tx *store.Tx) error {
					var n int
					if err := tx.QueryRowContext(ctx, "SELECT a FROM t WHERE id = 1").Scan(&n); err != nil {
						return err
					}
					once()
					_, err := tx.ExecContext(ctx, "UPDATE t SET a = $1 WHERE id = 1", n+1)
					return err
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		var n int
		err := db.Read(t.Context(), func(ctx context.Context, q store.Querier) error {
			return q.QueryRowContext(ctx, "SELECT a FROM t WHERE id = 1").Scan(&n)
		})
		if err != nil || n != want {
			t.Errorf("level %d: two increments make %d, want %d: %v", level, n, want, err)
		}
	}
}

func TestWhoIsInConflictEachTimeIsToldSoInTheEnd(t *testing.T) {
	url := pgtest.Database(t)
	db, other := openAt(t, store.Serializable, 2, url), openAt(t, store.Serializable, 2, url)
	if err := db.Do(t.Context(), put(0)); err != nil {
		t.Fatal(err)
	}
	runs := 0
	err := db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		runs++
		var n int
		if err := tx.QueryRowContext(ctx, "SELECT a FROM t WHERE id = 1").Scan(&n); err != nil {
			return err
		}
		if err := other.Do(t.Context(), increment); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "UPDATE t SET a = -1 WHERE id = 1")
		return err
	})
	if e := fault.From(err); e.Code != codes.Aborted || e.Reason != "TRANSACTION_CONFLICT" || !e.NotDone {
		t.Errorf("got %v: want ABORTED, TRANSACTION_CONFLICT, with nothing done", err)
	}
	if runs != 40 {
		t.Errorf("%d runs, want 40", runs)
	}
}

// BenchmarkConflicts counts how often what the framework does puts transactions
// into conflict that have nothing to do with each other: runs more than there
// are transactions, in a thousand.
func BenchmarkConflicts(b *testing.B) {
	lease := func(db *store.DB) { db.Migrations(store.LeaseSet, store.LeaseMigrations()) }
	for _, mechanism := range []struct {
		name string
		do   func(b *testing.B, db *store.DB) func(ctx context.Context, i int64, run func(context.Context, *store.Tx) error) error
	}{
		{"lease", shareLease},
		{"keys", func(_ *testing.B, db *store.DB) func(context.Context, int64, func(context.Context, *store.Tx) error) error {
			return func(ctx context.Context, i int64, run func(context.Context, *store.Tx) error) error {
				return db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
					if err := store.LockKeys(ctx, tx, "t", string(rune('a'+i%8))); err != nil {
						return err
					}
					return run(ctx, tx)
				})
			}
		}},
		{"replies", keepReplies},
	} {
		b.Run(mechanism.name, func(b *testing.B) {
			db := openAt(b, store.Serializable, 16, pgtest.Database(b), lease, withReplies)
			do := mechanism.do(b, db)
			var next, runs atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for range 16 {
				wg.Go(func() {
					for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
						err := do(context.Background(), i, func(ctx context.Context, tx *store.Tx) error {
							runs.Add(1)
							return put(int(i))(ctx, tx)
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
			b.ReportMetric(float64(runs.Load()-int64(b.N))*1000/float64(b.N), "conflicts/1000tx")
		})
	}
}

// shareLease is transactions under one lease, which is renewed every 10 ms,
// and has other leases beside it.
func shareLease(b *testing.B, db *store.DB) func(context.Context, int64, func(context.Context, *store.Tx) error) error {
	var mine store.Lease
	claim := func(ctx context.Context, tx *store.Tx, name string) (err error) {
		mine, _, err = store.ClaimLease(ctx, tx, name, "me", time.Now(), time.Minute)
		return err
	}
	for _, name := range []string{"a", "b", "c"} {
		if err := db.Do(b.Context(), func(ctx context.Context, tx *store.Tx) error { return claim(ctx, tx, name) }); err != nil {
			b.Fatal(err)
		}
	}
	stop, done := make(chan struct{}), make(chan struct{})
	b.Cleanup(func() { close(stop); <-done })
	go func() {
		defer close(done)
		for tick := time.NewTicker(10 * time.Millisecond); ; {
			select {
			case <-tick.C:
			case <-stop:
				tick.Stop()
				return
			}
			err := db.Do(context.Background(), func(ctx context.Context, tx *store.Tx) error {
				return mine.Renew(ctx, tx, time.Now(), time.Minute)
			})
			if err != nil {
				b.Error(err)
			}
		}
	}()
	return func(ctx context.Context, _ int64, run func(context.Context, *store.Tx) error) error {
		return db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
			if err := mine.Check(ctx, tx); err != nil {
				return err
			}
			return run(ctx, tx)
		})
	}
}
