package argosytest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/argosytest"
	"github.com/argosy-go/argosy/event"
	"github.com/argosy-go/argosy/saga"
	orderpb "github.com/argosy-go/argosy/shop/gen/order/v1"
	"github.com/argosy-go/argosy/store"
)

var soldTable = fstest.MapFS{"0001_sold.sql": {Data: []byte(`-- +goose Up
CREATE TABLE sold (id TEXT PRIMARY KEY);
`)}}

var countTable = fstest.MapFS{"0001_counts.sql": {Data: []byte(`-- +goose Up
CREATE TABLE counts (id TEXT PRIMARY KEY, n BIGINT NOT NULL);
`)}}

// till is two services: a till that sells and a counter that hears of it, and
// takes each sale down in a saga of two steps.
type till struct {
	db   *store.DB
	sold event.Publisher[*orderpb.OrderConfirmed]
	down saga.Saga[*orderpb.Refund]
	// outside publishes after the commit and not in it: a mistake.
	outside bool
}

func (s *till) services() []argosy.Service {
	return []argosy.Service{
		{Name: "till", Setup: func(setup *argosy.Setup) error {
			s.db = setup.DB(soldTable)
			s.sold = event.Publishes[*orderpb.OrderConfirmed](setup)
			return nil
		}},
		{Name: "counter", Setup: func(setup *argosy.Setup) error {
			db := setup.DB(countTable)
			s.down = saga.Define(setup, "take-down",
				saga.DoTx("count", func(ctx context.Context, tx *store.Tx, r *orderpb.Refund) error {
					return count(ctx, tx, r.OrderId)
				}).NoUndo(),
				saga.DoTx("recount", func(ctx context.Context, tx *store.Tx, r *orderpb.Refund) error {
					return count(ctx, tx, r.OrderId)
				}).NoUndo(),
			)
			event.Consume(setup, func(ctx context.Context, tx *store.Tx, e *orderpb.OrderConfirmed) error {
				s.down.Start(tx, e.OrderId, &orderpb.Refund{OrderId: e.OrderId})
				return nil
			})
			_ = db
			return nil
		}},
	}
}

func count(ctx context.Context, tx *store.Tx, id string) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO counts (id, n) VALUES ($1, 1) ON CONFLICT (id) DO UPDATE SET n = counts.n + 1", id)
	return err
}

// sell sells under an id, once.
func (s *till) sell(ctx context.Context, id string) error {
	publish := func(tx *store.Tx) { s.sold.Publish(tx, &orderpb.OrderConfirmed{OrderId: id}) }
	known := false
	err := s.db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		res, err := tx.ExecContext(ctx, "INSERT INTO sold (id) VALUES ($1) ON CONFLICT DO NOTHING", id)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if known = n == 0; known || s.outside {
			return err
		}
		publish(tx)
		return err
	})
	if err != nil || !s.outside || known {
		return err
	}
	return s.db.Do(ctx, func(_ context.Context, tx *store.Tx) error {
		publish(tx)
		return nil
	})
}

// numbers returns a query's rows of an id and a number.
func numbers(ctx context.Context, f *argosytest.Fleet, service, query string) (map[string]int, error) {
	out := map[string]int{}
	err := f.Read(ctx, service, func(q store.Querier) error {
		rows, err := q.QueryContext(ctx, query)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id string
			var n int
			if err := rows.Scan(&id, &n); err != nil {
				return err
			}
			out[id] = n
		}
		return rows.Err()
	})
	return out, err
}

// agree checks that every sale was counted twice, and nothing else was.
func agree(ctx context.Context, f *argosytest.Fleet) error {
	sold, err := numbers(ctx, f, "till", "SELECT id, 2 FROM sold")
	if err != nil {
		return err
	}
	counted, err := numbers(ctx, f, "counter", "SELECT id, n FROM counts")
	if err != nil {
		return err
	}
	if fmt.Sprint(sold) != fmt.Sprint(counted) {
		return fmt.Errorf("sold %v, counted %v", sold, counted)
	}
	return nil
}

func (s *till) scenario(testing.TB) argosytest.Scenario {
	s = &till{outside: s.outside}
	return argosytest.Scenario{
		Config: argosytest.Config{Services: s.services()},
		Work: func(ctx context.Context, _ *argosytest.Fleet) error {
			for i := range 2 {
				if err := s.sell(ctx, fmt.Sprint("sale", i)); err != nil {
					return err
				}
			}
			return nil
		},
		Invariant: func(ctx context.Context, f *argosytest.Fleet) error {
			if sold, err := numbers(ctx, f, "till", "SELECT id, 1 FROM sold"); err != nil || len(sold) != 2 {
				return errors.Join(err, fmt.Errorf("%d sales of 2", len(sold)))
			}
			return agree(ctx, f)
		},
	}
}

func TestAFleetInATestWorks(t *testing.T) {
	s := &till{}
	begun := time.Now()
	f := argosytest.Start(t, s.services()...)
	t.Logf("ready after %v", time.Since(begun))
	for i := range 10 {
		if err := s.sell(t.Context(), fmt.Sprint("sale", i)); err != nil {
			t.Fatal(err)
		}
	}
	f.AwaitQuiet(t)
	if err := agree(t.Context(), f); err != nil {
		t.Error(err)
	}
}

func TestNothingIsLostOrDoubledWhereverTheProcessDies(t *testing.T) {
	r := argosytest.Plan{Start: true, Parallel: 12}.CrashEverywhere(t, (&till{}).scenario)
	if r.Points < 30 || r.Reached < r.Points/2 || r.Operations["commit"] == 0 || r.Operations["publish"] == 0 || r.Operations["ack"] == 0 {
		t.Errorf("that is not everywhere: %v", r)
	}
}

// failing is a test that takes down its failures.
type failing struct {
	testing.TB
	mu   sync.Mutex
	said []string
}

func (f *failing) Errorf(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.said = append(f.said, fmt.Sprintf(format, args...))
}

func (f *failing) Helper() {}

func TestAPublicationOutsideTheTransactionIsFound(t *testing.T) {
	f := &failing{TB: t}
	argosytest.Plan{Parallel: 1}.CrashEverywhere(f, (&till{outside: true}).scenario)
	if len(f.said) != 1 || !strings.Contains(f.said[0], "sold map[") || !strings.Contains(f.said[0], argosytest.PointVariable+"='") {
		t.Fatalf("got %q", f.said)
	}
}

func TestAPointCanBeRunAlone(t *testing.T) {
	t.Setenv(argosytest.PointVariable, "till: commit argosytest_test.(*till).sell #1, after")
	for name, test := range map[string]struct {
		till     till
		failures int
	}{"the mistake shows": {till{outside: true}, 1}, "without it nothing does": {till{}, 0}} {
		f := &failing{TB: t}
		if r := argosytest.CrashEverywhere(f, test.till.scenario); len(f.said) != test.failures || r.Points != 1-test.failures {
			t.Errorf("%s: %v, %q", name, r, f.said)
		}
	}
}

func TestPointsAreReadAsTheyArePrinted(t *testing.T) {
	for text, want := range map[string]int{
		"order: commit order.(*orders).PlaceOrder #1, after":                             1,
		"a: publish t #12, midway then b: ack a/t #3, before then : commit x #1, before": 3,
		"order: commit x #0, after":                                                      0, "order: commit x, after": 0, "": 0, "order: commit x #1, sometimes": 0, "x: y #1, after then": 0,
	} {
		path, err := argosytest.ParsePoints(text)
		if (err == nil) != (want > 0) || err == nil && len(path) != want {
			t.Errorf("%q: %v, %v", text, path, err)
		}
	}
}

func FuzzPoints(f *testing.F) {
	f.Add("order: commit x #1, after then b: ack a/t #3, before")
	f.Fuzz(func(t *testing.T, s string) {
		path, err := argosytest.ParsePoints(s)
		if err != nil {
			return
		}
		var parts []string
		for _, p := range path {
			parts = append(parts, p.String())
		}
		if again := strings.Join(parts, " then "); again != s {
			t.Errorf("%q became %q", s, again)
		}
	})
}
