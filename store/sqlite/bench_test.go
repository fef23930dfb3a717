package sqlite_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"

	_ "modernc.org/sqlite"

	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/store/sqlite"
)

const insert = "INSERT INTO t (a, b) VALUES ($1, $2)"

var table = fstest.MapFS{"0001_t.sql": {Data: []byte("-- +goose Up\nCREATE TABLE t (id INTEGER PRIMARY KEY, a BIGINT NOT NULL, b TEXT NOT NULL);\n")}}

func openDB(tb testing.TB, dir string) *store.DB {
	tb.Helper()
	db := store.NewDB("bench")
	db.Migrations("service", table)
	if err := db.Open(context.Background(), sqlite.Opener{}, store.OpenOptions{Dir: dir}); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Error(err)
		}
	})
	return db
}

// BenchmarkWrite is durable transactions of one INSERT, beside the same with a
// plain database/sql pool on the same driver and pragmas.
func BenchmarkWrite(b *testing.B) {
	for _, callers := range []int{1, 64, 512} {
		b.Run(fmt.Sprintf("argosy/callers=%d", callers), func(b *testing.B) {
			db := openDB(b, b.TempDir())
			spread(b, callers, func(ctx context.Context, i int64) error {
				return db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
					_, err := tx.ExecContext(ctx, insert, i, "a customer's order")
					return err
				})
			})
		})
	}
	for _, callers := range []int{1, 64, 512} {
		b.Run(fmt.Sprintf("pool/callers=%d", callers), func(b *testing.B) {
			db := openPool(b)
			spread(b, callers, func(ctx context.Context, i int64) error {
				tx, err := db.BeginTx(ctx, nil)
				if err != nil {
					return err
				}
				if _, err := tx.ExecContext(ctx, insert, i, "a customer's order"); err != nil {
					_ = tx.Rollback()
					return err
				}
				return tx.Commit()
			})
		})
	}
}

// openPool opens what one would use without this package: a pool with WAL,
// synchronous=FULL, BEGIN IMMEDIATE and a busy timeout.
func openPool(tb testing.TB) *sql.DB {
	tb.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(tb.TempDir(), "pool.db")+
		"?_txlock=immediate&_pragma=busy_timeout(60000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(ON)")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(8)
	db.SetMaxIdleConns(8)
	if _, err := db.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, a BIGINT NOT NULL, b TEXT NOT NULL)"); err != nil {
		tb.Fatal(err)
	}
	return db
}

// spread runs f b.N times on that many goroutines and reports the rate.
func spread(b *testing.B, callers int, f func(ctx context.Context, i int64) error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	b.ReportAllocs()
	b.ResetTimer()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if err := f(ctx, i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tx/s")
}

// BenchmarkRead is reads of one row by its key.
func BenchmarkRead(b *testing.B) {
	db := openDB(b, b.TempDir())
	err := db.Do(b.Context(), func(ctx context.Context, tx *store.Tx) error {
		for i := range 1000 {
			if _, err := tx.ExecContext(ctx, insert, i, "a customer's order"); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			spread(b, callers, func(ctx context.Context, i int64) error {
				return db.Read(ctx, func(ctx context.Context, q store.Querier) error {
					var name string
					return q.QueryRowContext(ctx, "SELECT b FROM t WHERE id = $1", i%1000+1).Scan(&name)
				})
			})
		})
	}
}

// BenchmarkOpen is the start of a fleet: nine services with five sets of
// migrations each, on an empty directory and on one that is up to date.
func BenchmarkOpen(b *testing.B) {
	open := func(b *testing.B, dir string) {
		var dbs []*store.DB
		for service := range 9 {
			db := store.NewDB(fmt.Sprintf("service-%d", service))
			for set := range 5 {
				name := fmt.Sprintf("set_%d", set)
				db.Migrations(name, fstest.MapFS{
					"0001_a.sql": {Data: fmt.Appendf(nil, "-- +goose Up\nCREATE TABLE %s_a (id BIGINT PRIMARY KEY, n TEXT);\nCREATE INDEX %s_i ON %s_a (n);", name, name, name)},
					"0002_b.sql": {Data: fmt.Appendf(nil, "-- +goose Up\nCREATE TABLE %s_b (id BIGINT PRIMARY KEY, n TEXT);", name)},
				})
			}
			if err := db.Open(b.Context(), sqlite.Opener{}, store.OpenOptions{Dir: dir}); err != nil {
				b.Fatal(err)
			}
			dbs = append(dbs, db)
		}
		b.StopTimer()
		for _, db := range dbs {
			if err := db.Close(); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
	}
	b.Run("fresh", func(b *testing.B) {
		for range b.N {
			open(b, b.TempDir())
		}
	})
	b.Run("again", func(b *testing.B) {
		dir := b.TempDir()
		open(b, dir)
		b.ResetTimer()
		for range b.N {
			open(b, dir)
		}
	})
}
