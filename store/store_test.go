package store_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/store/sqlite"
)

func migration(up string) fstest.MapFS {
	return fstest.MapFS{"0001_first.sql": {Data: []byte("-- +goose Up\n" + up)}}
}

func open(t *testing.T, prepare ...func(*store.DB)) *store.DB {
	t.Helper()
	db := store.NewDB("order")
	db.Migrations("service", migration("CREATE TABLE item (id BIGINT PRIMARY KEY);"))
	for _, p := range prepare {
		p(db)
	}
	if err := db.Open(t.Context(), sqlite.Opener{}, store.OpenOptions{Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestASetOfTheSameNameReplacesTheFirst(t *testing.T) {
	db := open(t, func(db *store.DB) {
		db.Migrations("service", migration("CREATE TABLE other (id BIGINT PRIMARY KEY);"))
	})
	err := db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO other (id) VALUES (1)")
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestOpenNamesTheServiceAndTheSetThatFailed(t *testing.T) {
	dir := t.TempDir()
	db := store.NewDB("order")
	db.Migrations("broken", migration("nonsense;"))
	err := db.Open(t.Context(), sqlite.Opener{}, store.OpenOptions{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "broken") || !strings.Contains(err.Error(), "order") {
		t.Errorf("the error names the set and the service: got %v", err)
	}
	if err := db.Do(t.Context(), func(context.Context, *store.Tx) error { return nil }); !errors.Is(err, store.ErrNotOpen) {
		t.Errorf("a handle that failed to open is not open: got %v", err)
	}
	again := store.NewDB("order")
	if err := again.Open(t.Context(), sqlite.Opener{}, store.OpenOptions{Dir: dir}); err != nil {
		t.Errorf("a failed Open lets go of the database: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestWhatAFlushCollectsIsFlushedToo(t *testing.T) {
	type event struct{ name string }
	type run struct{ name string }
	db := open(t)
	var log []string
	flushEvents := func(_ context.Context, _ *store.Tx, events []event) error {
		log = append(log, fmt.Sprint("events", events))
		return nil
	}
	flushRuns := func(_ context.Context, tx *store.Tx, runs []run) error {
		log = append(log, fmt.Sprint("runs", runs))
		store.Collect(tx, event{"started"}, flushEvents) // for a list that was flushed already
		return nil
	}
	err := db.Do(t.Context(), func(_ context.Context, tx *store.Tx) error {
		store.Collect(tx, event{"placed"}, flushEvents)
		store.Collect(tx, run{"fulfil"}, flushRuns)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"events[{placed}]", "runs[{fulfil}]", "events[{started}]"}; !slices.Equal(log, want) {
		t.Errorf("flushes: %v, want %v", log, want)
	}
}

func TestAPartThatFailsForgetsWhatItAdded(t *testing.T) {
	failing := map[string]func() error{
		"with an error": func() error { return errors.New("no") },
		"with a panic":  func() error { panic("a bug") },
	}
	for name, fail := range failing {
		t.Run(name, func(t *testing.T) {
			db := open(t)
			var told, collected []int
			err := db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
				add := func(i int) {
					tx.AfterCommit(func() { told = append(told, i) })
					store.Collect(tx, i, func(_ context.Context, _ *store.Tx, items []int) error {
						collected = items
						return nil
					})
				}
				add(1)
				func() {
					defer func() { _ = recover() }()
					_ = tx.Try(ctx, func(_ context.Context, tx *store.Tx) error {
						add(2)
						tx.Fail(errors.New("cured with the part"))
						return fail()
					})
				}()
				add(3)
				return nil
			})
			if want := []int{1, 3}; err != nil || !slices.Equal(told, want) || !slices.Equal(collected, want) {
				t.Errorf("told %v, collected %v, %v: want %v", told, collected, err, want)
			}
		})
	}
}

func TestReadsDoNotNest(t *testing.T) {
	db := open(t)
	none := func(context.Context, store.Querier) error { return nil }
	err := db.Do(t.Context(), func(ctx context.Context, _ *store.Tx) error {
		if err := db.Read(ctx, none); !errors.Is(err, store.ErrNested) {
			t.Errorf("a read in a transaction is ErrNested: got %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Read(t.Context(), func(ctx context.Context, _ store.Querier) error { return db.Read(ctx, none) })
	if !errors.Is(err, store.ErrNested) {
		t.Errorf("a read in a read is ErrNested: got %v", err)
	}
}

func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()

	db := store.NewDB("inventory")
	db.Migrations("service", fstest.MapFS{"0001_stock.sql": {Data: []byte(`-- +goose Up
		CREATE TABLE stock (sku TEXT PRIMARY KEY, n BIGINT NOT NULL);
		INSERT INTO stock VALUES ('tea', 10);`)}})
	if err := db.Open(ctx, sqlite.Opener{}, store.OpenOptions{Dir: dir}); err != nil {
		log.Fatal(err)
	}
	defer func() { _ = db.Close() }()

	err = db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		var left int
		err := tx.QueryRowContext(ctx, "UPDATE stock SET n = n - $2 WHERE sku = $1 AND n >= $2 RETURNING n", "tea", 3).Scan(&left)
		if err != nil {
			return err
		}
		tx.AfterCommit(func() { fmt.Println("left:", left) })
		return nil
	})
	fmt.Println(err)
	// Output:
	// left: 7
	// <nil>
}
