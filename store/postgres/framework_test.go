package postgres_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/fstest"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/argosy-go/argosy/auth"
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

var effects = fstest.MapFS{"0001_effects.sql": {Data: []byte("-- +goose Up\nCREATE TABLE t (a BIGINT PRIMARY KEY, b TEXT NOT NULL);\nCREATE TABLE ended (run TEXT PRIMARY KEY);\n")}}

// counting is a saga of three steps, one of which writes the service's tables.
func counting(s *service.Setup) saga.Saga[*wrapperspb.Int64Value] {
	nothing := func(context.Context, *wrapperspb.Int64Value) error { return nil }
	return saga.Define(s, "count",
		saga.Do("first", nothing).Undo(nothing),
		saga.Pivot("pivot", nothing),
		saga.ThenTx("insert", func(ctx context.Context, tx *store.Tx, n *wrapperspb.Int64Value) error {
			return put(int(n.GetValue()))(ctx, tx)
		}),
		saga.End(func(ctx context.Context, tx *store.Tx, n *wrapperspb.Int64Value, o saga.Outcome) error {
			_, err := tx.ExecContext(ctx, "INSERT INTO ended (run) VALUES ($1)", fmt.Sprint(o.State, n.GetValue()))
			return err
		}),
	)
}

func TestReplicasShareTheRunsOfASaga(t *testing.T) {
	const replicas, runs = 3, 60
	url := pgtest.Database(t)
	type replica struct {
		db *store.DB
		on saga.Saga[*wrapperspb.Int64Value]
	}
	var all []replica
	for i := range replicas {
		s := service.New("order", service.Options{Instance: fmt.Sprint("replica-", i)})
		r := replica{db: s.DB(effects), on: counting(s)}
		if err := s.Err(); err != nil {
			t.Fatal(err)
		}
		if err := r.db.Open(t.Context(), postgres.Opener{MaxConns: 8}, store.OpenOptions{URL: url}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := r.db.Close(); err != nil {
				t.Error(err)
			}
		})
		for _, h := range s.StartHooks() {
			if err := h.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		workers := servicetest.Start(s, func(worker string, err error) { t.Errorf("worker %s: %v", worker, err) })
		t.Cleanup(workers.Stop)
		all = append(all, r)
	}
	var wg sync.WaitGroup
	for n := range runs {
		wg.Go(func() {
			r, id := all[n%replicas], fmt.Sprint("run-", n)
			err := r.db.Do(t.Context(), func(_ context.Context, tx *store.Tx) error {
				r.on.Start(tx, id, wrapperspb.Int64(int64(n)))
				return nil
			})
			if err != nil {
				t.Error(err)
				return
			}
			if run, err := r.on.Wait(t.Context(), id); err != nil || run.State != saga.Completed {
				t.Errorf("%s is %v, %v", id, run.State, err)
			}
		})
	}
	wg.Wait()
	if n := count(t, all[0].db); n != runs {
		t.Errorf("%d runs had %d effects", runs, n)
	}
}

func TestARequestThatComesManyTimesAtOnceHasOneEffect(t *testing.T) {
	db := store.NewDB("order")
	db.Migrations("service", effects)
	db.Migrations("argosy_event", event.Migrations())
	idempotency.Install(db, nil)
	if err := db.Open(t.Context(), postgres.Opener{}, store.OpenOptions{URL: pgtest.Database(t)}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	ctx := auth.With(rpc.WithIncoming(t.Context(), "/test.Orders/Place", "key"), auth.Principal{Subject: "alice"})
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			res, err := idempotency.Do(ctx, db, wrapperspb.Int64(7), func(ctx context.Context, tx *store.Tx) (*wrapperspb.StringValue, error) {
				return wrapperspb.String("placed"), put(7)(ctx, tx)
			})
			if err != nil || res.GetValue() != "placed" {
				t.Errorf("%v, %v", res, err)
			}
		})
	}
	wg.Wait()
	if n := count(t, db); n != 1 {
		t.Errorf("one request had %d effects", n)
	}
}

func withReplies(db *store.DB) { idempotency.Install(db, nil) }

// keepReplies is calls under keys of their own.
func keepReplies(_ *testing.B, db *store.DB) func(context.Context, int64, func(context.Context, *store.Tx) error) error {
	return func(ctx context.Context, i int64, run func(context.Context, *store.Tx) error) error {
		ctx = auth.With(rpc.WithIncoming(ctx, "/test.Orders/Place", fmt.Sprint("key-", i)), auth.Principal{Subject: "alice"})
		_, err := idempotency.Do(ctx, db, wrapperspb.Int64(i), func(ctx context.Context, tx *store.Tx) (*wrapperspb.StringValue, error) {
			return wrapperspb.String("placed"), run(ctx, tx)
		})
		return err
	}
}
