package sqlite

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/argosy-go/argosy/store"
)

// TestEveryMixOfEndsKeepsTheAcknowledged lets many callers run functions that
// end in every way there is, and compares what is there with what was
// acknowledged: they are the same set.
func TestEveryMixOfEndsKeepsTheAcknowledged(t *testing.T) {
	const callers, each = 32, 60
	e, db := openTest(t, t.TempDir())
	e.writer.mu.Lock()                    // the watch over the migrations may still look
	e.writer.limit = 5 * time.Millisecond // idle functions are revoked quickly
	e.writer.mu.Unlock()
	var mu sync.Mutex
	acknowledged := map[int]bool{}
	unlucky := map[string]int{}
	var wg sync.WaitGroup
	for caller := range callers {
		rng := rand.New(rand.NewPCG(1, uint64(caller)))
		for i := range each {
			id, end := caller*each+i, rng.IntN(len(ends))
			wg.Add(1)
			ran := make(chan struct{})
			go func() { // of its own, since Goexit ends it
				defer wg.Done()
				defer close(ran)
				defer func() { _ = recover() }()
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				err := db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
					if err := put(id)(ctx, tx); err != nil {
						return err
					}
					return ends[end].run(ctx, tx, cancel)
				})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					acknowledged[id] = true
				} else if ends[end].commits && !errors.Is(err, store.ErrRevoked) { // the machine may be that slow
					unlucky[err.Error()]++
				}
			}()
			if i%4 == 3 {
				<-ran
			}
		}
	}
	wg.Wait()
	there := map[int]bool{}
	err := db.Read(t.Context(), func(ctx context.Context, q store.Querier) error {
		rows, err := q.QueryContext(ctx, "SELECT id FROM t")
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var id int
			if err := rows.Scan(&id); err != nil {
				return err
			}
			there[id] = true
			if !acknowledged[id] {
				t.Errorf("row %d is there and was not acknowledged", id)
			}
		}
		return rows.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	for id := range acknowledged {
		if !there[id] {
			t.Errorf("row %d was acknowledged and is not there", id)
		}
	}
	if len(unlucky) > 0 {
		t.Errorf("functions that did nothing wrong failed: %v", unlucky)
	}
	if len(acknowledged) == 0 {
		t.Error("nothing was acknowledged")
	}
}

// ends are the ways in which a function ends, after it has written its row.
var ends = []struct {
	name    string
	commits bool
	run     func(ctx context.Context, tx *store.Tx, cancel context.CancelFunc) error
}{
	{"well", true, func(context.Context, *store.Tx, context.CancelFunc) error { return nil }},
	{"well again", true, func(context.Context, *store.Tx, context.CancelFunc) error { return nil }},
	{"error", false, func(context.Context, *store.Tx, context.CancelFunc) error { return errors.New("no") }},
	{"panic", false, func(context.Context, *store.Tx, context.CancelFunc) error { panic("a bug") }},
	{"goexit", false, func(context.Context, *store.Tx, context.CancelFunc) error { runtime.Goexit(); return nil }},
	{"swallowed", false, func(ctx context.Context, tx *store.Tx, _ context.CancelFunc) error {
		_, _ = tx.ExecContext(ctx, "nonsense")
		return nil
	}},
	{"cancelled", false, func(ctx context.Context, tx *store.Tx, cancel context.CancelFunc) error {
		cancel()
		_, err := tx.ExecContext(ctx, "SELECT 1")
		return err
	}},
	{"spoilt", false, func(ctx context.Context, tx *store.Tx, _ context.CancelFunc) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO harsh (id) VALUES (1), (1)")
		return err
	}},
	{"failed part", true, func(ctx context.Context, tx *store.Tx, _ context.CancelFunc) error {
		_ = tx.Try(ctx, func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.ExecContext(ctx, "INSERT INTO t (id) VALUES (-1)")
			return errors.Join(err, errors.New("no"))
		})
		return nil
	}},
	{"rows left open", false, func(ctx context.Context, tx *store.Tx, _ context.CancelFunc) error {
		_, err := tx.QueryContext(ctx, "SELECT id FROM t") //nolint:rowserrcheck,sqlclosecheck // on purpose
		return err
	}},
	{"idle", false, func(ctx context.Context, tx *store.Tx, _ context.CancelFunc) error {
		<-time.After(time.Duration(rand.IntN(12)) * time.Millisecond)
		_, err := tx.ExecContext(ctx, "SELECT 1")
		return err // commits when it was not revoked
	}},
}
