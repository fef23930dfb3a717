package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/argosy-go/argosy/event"
	"github.com/argosy-go/argosy/idempotency"
	"github.com/argosy-go/argosy/internal/pgtest"
	"github.com/argosy-go/argosy/internal/servicetest"
	"github.com/argosy-go/argosy/rpc"
	"github.com/argosy-go/argosy/saga"
	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/store/postgres"
)

// dump copies the schema of a service from one database to another, as an
// operator does. It reports false when there are no tools to do it with.
func dump(t *testing.T, from, to, schema string) bool {
	t.Helper()
	pgDump, ok1 := pgtest.Tool("pg_dump")
	pgRestore, ok2 := pgtest.Tool("pg_restore")
	if !ok1 || !ok2 {
		return false
	}
	file := filepath.Join(t.TempDir(), "dump")
	for _, cmd := range []*exec.Cmd{
		exec.Command(pgDump, "--format=custom", "--schema="+schema, "--file="+file, from),
		exec.Command(pgRestore, "--exit-on-error", "--dbname="+to, file),
	} {
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", filepath.Base(cmd.Path), err, out)
		}
	}
	return true
}

// contentsOf returns the tables of the schema with the numbers of their rows,
// and the last number that each sequence gave out.
func contentsOf(t *testing.T, db *store.DB) map[string]int64 {
	t.Helper()
	out := map[string]int64{}
	var names []string
	read := func(ctx context.Context, q store.Querier, query string) error {
		rows, err := q.QueryContext(ctx, query)
		if err != nil {
			return err
		}
		for rows.Next() {
			var name string
			var n int64
			if err := rows.Scan(&name, &n); err != nil {
				return err
			}
			names = append(names, name)
			out[name] = n
		}
		return errors.Join(rows.Err(), rows.Close())
	}
	err := db.Read(t.Context(), func(ctx context.Context, q store.Querier) error {
		if err := read(ctx, q, "SELECT table_name, 0 FROM information_schema.tables WHERE table_schema = current_schema()"); err != nil {
			return err
		}
		for _, name := range names {
			var n int64
			if err := q.QueryRowContext(ctx, "SELECT count(*) FROM "+name).Scan(&n); err != nil {
				return err
			}
			out[name] = n
		}
		return read(ctx, q, "SELECT 'sequence ' || sequencename, COALESCE(last_value, 0) FROM pg_sequences WHERE schemaname = current_schema()")
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// whole opens the database of a service with all that a fleet gives it.
func whole(t *testing.T, url, instance string) (*service.Setup, *store.DB, saga.Saga[*wrapperspb.Int64Value]) {
	t.Helper()
	s := service.New("order", service.Options{Instance: instance})
	db := s.DB(effects)
	counting := counting(s)
	idempotency.Install(db, nil)
	db.Migrations("argosy_event", event.Migrations())
	db.Migrations(store.LeaseSet, store.LeaseMigrations())
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	if err := db.Open(t.Context(), postgres.Opener{}, store.OpenOptions{URL: url}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, db, counting
}

func TestAServiceGoesOnFromADump(t *testing.T) {
	from, to := pgtest.Database(t), pgtest.Database(t)
	_, db, runs := whole(t, from, "before")
	var old store.Lease
	do := func(db *store.DB, fn func(ctx context.Context, tx *store.Tx) error) {
		t.Helper()
		if err := db.Do(t.Context(), fn); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	do(db, func(ctx context.Context, tx *store.Tx) (err error) {
		runs.Start(tx, "begun", wrapperspb.Int64(1)) // nobody works on it before the dump
		old, _, err = store.ClaimLease(ctx, tx, "work", "before", now, time.Minute)
		if err == nil { // as if 1,000 events had been sent and deleted
			_, err = tx.ExecContext(ctx, "SELECT setval(quote_ident(sequencename)::regclass, 1000) FROM pg_sequences WHERE schemaname = current_schema()")
		}
		return err
	})
	replied := func(db *store.DB) string {
		t.Helper()
		res, err := idempotency.Do(rpc.WithIncoming(t.Context(), "/test.Orders/Place", "key"), db, wrapperspb.Int64(7), func(ctx context.Context, tx *store.Tx) (*wrapperspb.StringValue, error) {
			return wrapperspb.String("placed"), put(7)(ctx, tx)
		})
		if err != nil {
			t.Fatal(err)
		}
		return res.GetValue()
	}
	replied(db)
	before := contentsOf(t, db)
	if !dump(t, from, to, "order") {
		return
	}
	s, restored, runs := whole(t, to, "after")
	after := contentsOf(t, restored)
	for name, n := range before {
		if after[name] != n {
			t.Errorf("%s is %d in what was restored, and was %d", name, after[name], n)
		}
	}
	if after["sequence argosy_outbox_seq_seq"] < 1000 || len(after) < 8 {
		t.Fatalf("there are only %v", after)
	}

	if replied(restored) != "placed" || count(t, restored) != 1 {
		t.Errorf("a request that comes again after the restore has %d effects", count(t, restored))
	}
	// The holder of the past is not running any more, or runs on the old
	// database: its lease is good until it expires, and for nobody else then.
	do(restored, func(ctx context.Context, tx *store.Tx) error {
		if _, ok, err := store.ClaimLease(ctx, tx, "work", "after", now, time.Minute); err != nil || ok {
			t.Errorf("the lease was to be had before it expired, %v", err)
		}
		lease, ok, err := store.ClaimLease(ctx, tx, "work", "after", now.Add(time.Minute), time.Minute)
		if err != nil || !ok || lease.Epoch <= old.Epoch {
			t.Errorf("the expired lease is to be had, with a higher epoch than %d: got %v %v %v", old.Epoch, lease, ok, err)
		}
		return nil
	})
	if err := restored.Do(t.Context(), old.Check); !errors.Is(err, store.ErrLeaseLost) {
		t.Errorf("the lease of the past is honoured: %v", err)
	}
	for _, h := range s.StartHooks() {
		if err := h.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	workers := servicetest.Start(s, func(worker string, err error) { t.Errorf("worker %s: %v", worker, err) })
	defer workers.Stop()
	for id := range 20 { // rows with numbers of their own beside the restored ones
		do(restored, func(_ context.Context, tx *store.Tx) error {
			runs.Start(tx, fmt.Sprint("new-", id), wrapperspb.Int64(int64(100+id)))
			return nil
		})
	}
	for _, id := range []string{"begun", "new-0", "new-19"} {
		if run, err := runs.Wait(t.Context(), id); err != nil || run.State != saga.Completed {
			t.Errorf("%s is %v, %v", id, run.State, err)
		}
	}
}
