package storetest

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/store"
)

// aloneRules: to each caller it is as if it were alone, whatever the others do.
var aloneRules = []rule{
	{"a function that fails takes no sibling with it", func(t *testing.T, f *fixture) {
		db := f.open(t)
		mine := errors.New("mine")
		errs := together(t, db, insert(1), func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(insert(2)(ctx, tx), mine)
		}, insert(3))
		onlyFails(t, errs, 1)
		wantIDs(t, db, "an error rolls back everything fn wrote and nothing else", 1, 3)
	}},
	{"a context cancelled in the middle poisons its own transaction only", func(t *testing.T, f *fixture) {
		db := f.open(t)
		errs := together(t, db, insert(1), func(ctx context.Context, tx *store.Tx) error {
			if err := insert(2)(ctx, tx); err != nil {
				return err
			}
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			_, _ = tx.ExecContext(ctx, "INSERT INTO item (id, name) VALUES (20, 'x')") // swallowed
			return nil
		}, insert(3))
		onlyFails(t, errs, 1)
		if !errors.Is(errs[1], context.Canceled) {
			t.Errorf("the error of a cancelled statement reaches the caller: got %v", errs[1])
		}
		wantIDs(t, db, "cancelling harms no sibling that shares the commit", 1, 3)
	}},
	{"a context cancelled while rows are read poisons its own transaction only", func(t *testing.T, f *fixture) {
		db := f.open(t)
		must(t, db.Do(t.Context(), insert(1)), "Do must commit")
		errs := together(t, db, insert(2), func(ctx context.Context, tx *store.Tx) error {
			if err := insert(3)(ctx, tx); err != nil {
				return err
			}
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			rows, err := tx.QueryContext(ctx, "SELECT id FROM item")
			if err != nil {
				return err
			}
			defer func() { _ = rows.Close() }()
			for rows.Next() {
				cancel()
			}
			return nil // rows.Err was forgotten
		}, insert(4))
		onlyFails(t, errs, 1)
		wantIDs(t, db, "an error met while reading rows counts, and harms no sibling", 1, 2, 4)
	}},
	{"a context cancelled while rows of a prepared statement are read poisons its own transaction only", func(t *testing.T, f *fixture) {
		db := f.open(t)
		must(t, db.Do(t.Context(), insert(1)), "Do must commit")
		errs := together(t, db, insert(2), func(ctx context.Context, tx *store.Tx) error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			stmt, err := tx.PrepareContext(tx.Context(), "SELECT id FROM item")
			if err != nil {
				return err
			}
			rows, err := stmt.QueryContext(ctx)
			if err != nil {
				return err
			}
			defer func() { _ = rows.Close() }()
			cancel()
			for rows.Next() {
				continue
			}
			_ = rows.Close() // rows.Err was forgotten
			return insert(3)(tx.Context(), tx)
		}, insert(4))
		onlyFails(t, errs, 1)
		wantIDs(t, db, "an error met while reading rows counts, and harms no sibling", 1, 2, 4)
	}},
	{"a panic rolls back its own transaction and reappears at its own caller", func(t *testing.T, f *fixture) {
		db := f.open(t)
		recovered := make(chan any, 1)
		go func() {
			defer func() { recovered <- recover() }()
			_ = db.Do(context.Background(), func(ctx context.Context, tx *store.Tx) error {
				_ = insert(2)(ctx, tx)
				panic("a bug")
			})
		}()
		if v := <-recovered; v != "a bug" {
			t.Errorf("a panic reappears at the caller with its value: got %v", v)
		}
		must(t, db.Do(t.Context(), insert(4)), "the engine works on after a panic")
		wantIDs(t, db, "a panic rolls back everything fn wrote", 4)
	}},
	{"a panic among siblings reaches its own caller only", func(t *testing.T, f *fixture) {
		db := f.open(t)
		errs := together(t, db, insert(1), func(ctx context.Context, tx *store.Tx) error {
			_ = insert(2)(ctx, tx)
			panic("a bug")
		}, insert(3))
		onlyFails(t, errs, 1)
		wantIDs(t, db, "a panic rolls back everything fn wrote and nothing else", 1, 3)
	}},
	{"runtime.Goexit, as in t.FailNow, ends its own caller's goroutine only", checkGoexit},
	{"a function that idles while others wait is revoked, and its siblings go on", checkRevoked},
	{"a function that idles over open rows is revoked like any other", checkRevokedOverRows},
	{"a function that idles while nobody waits is left alone", func(t *testing.T, f *fixture) {
		f.revokes = true
		db := f.open(t)
		err := db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
			timer := time.NewTimer(3 * idleLimit)
			<-timer.C
			return insert(1)(ctx, tx)
		})
		must(t, err, "an idle function is revoked only while others wait for the store")
	}},
	{"a commit that one transaction spoils succeeds for the others", func(t *testing.T, f *fixture) {
		db := f.open(t)
		errs := together(t, db, insert(1), func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.ExecContext(ctx, "INSERT INTO child (id, parent_id) VALUES (1, 99)") // deferred: fails at the commit
			return err
		}, insert(3))
		onlyFails(t, errs, 1)
		wantIDs(t, db, "a group that fails to commit fails for the offender only", 1, 3)
	}},
	{"a caller who gives up while waiting has written nothing", func(t *testing.T, f *fixture) {
		db := f.open(t)
		started, release := make(chan struct{}), make(chan struct{})
		held := make(chan error, 1)
		go func() {
			first := true
			held <- db.Do(context.Background(), func(ctx context.Context, tx *store.Tx) error {
				if first {
					first = false
					close(started)
					<-release
				}
				return nil
			})
		}()
		<-started
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := db.Do(ctx, insert(1))
		close(release)
		<-held
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Do with an ended context answers with the context's error: got %v", err)
		}
		wantIDs(t, db, "who was told that the context ended has written nothing")
	}},
}

func checkGoexit(t *testing.T, f *fixture) {
	db := f.open(t)
	goexit := func(ctx context.Context, tx *store.Tx) error {
		_ = insert(2)(ctx, tx)
		runtime.Goexit()
		return nil
	}
	errs := together(t, db, insert(1), goexit, insert(3), goexit, insert(4))
	for _, i := range []int{0, 2, 4} {
		if errs[i] != nil {
			t.Errorf("Goexit in one function harms no sibling: transaction %d got %v", i, errs[i])
		}
	}
	for _, i := range []int{1, 3} {
		if errs[i] == nil {
			t.Error("Goexit in a function ends the goroutine of its caller: Do returned")
		}
	}
	must(t, db.Do(t.Context(), insert(5)), "the engine works on after a Goexit")
	wantIDs(t, db, "Goexit rolls back its own transaction and nothing else", 1, 3, 4, 5)
}

func checkRevoked(t *testing.T, f *fixture) {
	f.revokes = true
	db := f.open(t)
	started, others := make(chan struct{}), make(chan struct{})
	var first, second error
	idle := make(chan error, 1)
	go func() {
		idle <- db.Do(context.Background(), func(ctx context.Context, tx *store.Tx) error {
			if err := insert(1)(ctx, tx); err != nil {
				return err
			}
			close(started)
			<-others // until the others have committed
			first = insert(2)(ctx, tx)
			second = tx.Try(ctx, insert(3))
			return nil
		})
	}()
	await(t, started, "a transaction must run")
	must(t, db.Do(t.Context(), insert(4)), "others go on when an idle function is revoked")
	must(t, db.Do(t.Context(), insert(5)), "others go on while a revoked function still runs")
	close(others)
	if f.target.Parallel {
		must(t, errors.Join(<-idle, first, second), "an idle function in whose way nobody is goes on")
		wantIDs(t, db, "an idle function in whose way nobody is commits", 1, 2, 3, 4, 5)
		return
	}
	if err := <-idle; !errors.Is(err, store.ErrRevoked) {
		t.Errorf("the caller of a revoked function gets ErrRevoked: got %v", err)
	}
	if !errors.Is(first, store.ErrRevoked) || !errors.Is(second, store.ErrRevoked) {
		t.Errorf("statements of a revoked function fail with ErrRevoked: got %v and %v", first, second)
	}
	if e := fault.From(store.ErrRevoked); !e.NotDone {
		t.Error("ErrRevoked says that nothing was done")
	}
	wantIDs(t, db, "a revoked function has written nothing", 4, 5)
}

func checkRevokedOverRows(t *testing.T, f *fixture) {
	f.revokes = true
	db := f.open(t)
	must(t, db.Do(t.Context(), insert(1)), "Do must commit")
	must(t, db.Do(t.Context(), insert(2)), "Do must commit")
	started, others := make(chan struct{}), make(chan struct{})
	idle := make(chan error, 1)
	go func() {
		idle <- db.Do(context.Background(), func(ctx context.Context, tx *store.Tx) error {
			rows, err := tx.QueryContext(ctx, "SELECT id FROM item")
			if err != nil {
				return err
			}
			defer func() { _ = rows.Close() }()
			rows.Next()
			close(started)
			<-others
			if f.target.Parallel {
				if !rows.Next() || rows.Next() {
					t.Error("the rows of an idle function in whose way nobody is stay as they were")
				}
				return rows.Err()
			}
			if rows.Next() || !errors.Is(rows.Err(), store.ErrRevoked) {
				t.Errorf("the rows of a revoked function end with ErrRevoked: got %v", rows.Err())
			}
			return nil
		})
	}()
	await(t, started, "a transaction must run")
	must(t, db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM item WHERE id = 1")
		return err
	}), "others go on when a function that idles over rows is revoked")
	close(others)
	if err := <-idle; f.target.Parallel {
		must(t, err, "an idle function in whose way nobody is goes on")
	} else if !errors.Is(err, store.ErrRevoked) {
		t.Errorf("the caller of a revoked function gets ErrRevoked: got %v", err)
	}
	wantIDs(t, db, "a revoked function has written nothing", 2)
}

// onlyFails checks that the transactions of these indexes failed and no other.
func onlyFails(t *testing.T, errs []error, failing ...int) {
	t.Helper()
	want := map[int]bool{}
	for _, i := range failing {
		want[i] = true
	}
	for i, err := range errs {
		if want[i] && err == nil {
			t.Errorf("transaction %d must fail: it was acknowledged", i)
		}
		if !want[i] && err != nil {
			t.Errorf("transaction %d did nothing wrong: its sibling's failure reached it: %v", i, err)
		}
	}
}
