package saga

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/store"
)

// doubtful opens stores that lose their connection when they are told to: the
// next commit happens and nobody is told, and nothing can be read for a while.
type doubtful struct {
	store.Opener
	mu    sync.Mutex
	lose  int // commits to lose the answers of
	blind int // reads that fail after each of them
	left  int // of blind
}

func (d *doubtful) Open(ctx context.Context, o store.OpenOptions) (store.Engine, error) {
	e, err := d.Opener.Open(ctx, o)
	return &doubtfulEngine{e, d}, err
}

type doubtfulEngine struct {
	store.Engine
	d *doubtful
}

func (e *doubtfulEngine) Write(ctx context.Context, fn func(store.Conn) error) error {
	err := e.Engine.Write(ctx, fn)
	e.d.mu.Lock()
	defer e.d.mu.Unlock()
	if err != nil || e.d.lose == 0 {
		return err
	}
	e.d.lose--
	e.d.left = e.d.blind
	return store.ErrUnknown
}

var errBlind = errors.New("the connection is lost")

func (e *doubtfulEngine) Read(ctx context.Context, fn func(store.Querier) error) error {
	e.d.mu.Lock()
	blind := e.d.left > 0
	if blind {
		e.d.left--
	}
	e.d.mu.Unlock()
	if blind {
		return errBlind
	}
	return e.Engine.Read(ctx, fn)
}

// TestATransitionWhoseCommitIsUnknownIsStoredOnce loses the answer of one
// commit after the other, and the store for a while after it. Whatever was
// stored must be found out and not done again, in both directions.
func TestATransitionWhoseCommitIsUnknownIsStoredOnce(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		for _, fails := range []bool{false, true} {
			for _, lose := range []int{1, 2, 3, 5} {
				t.Run(fmt.Sprintf("%d commits, compensated: %t", lose, fails), func(t storeTest) {
					storedOnce(t, lose, fails)
				})
			}
		}
	})
}

func storedOnce(t storeTest, lose int, fails bool) {
	d := &doubtful{Opener: t, blind: 3}
	arm := func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.lose = lose
	}
	var s Saga[state]
	a := start(t, config{store: d, faulty: true, declare: func(setup *service.Setup) {
		effect := func(what string) func(context.Context, *store.Tx, state) error {
			return func(ctx context.Context, tx *store.Tx, _ state) error { return write(ctx, tx, what) }
		}
		s = Define(setup, "once",
			DoTx("one", effect("one")).UndoTx(effect("not one")),
			DoTx("two", effect("two")).UndoTx(effect("not two")),
			DoTx("three", effect("three")).UndoTx(effect("not three")),
			Pivot("turn", func(context.Context, state) error {
				if fails {
					return errRefused
				}
				return nil
			}),
			ThenTx("four", effect("four")),
		)
	}})
	a.must(func(_ context.Context, tx *store.Tx) error {
		tx.AfterCommit(arm) // from the first transition on
		s.Start(tx, "run", &structpb.Struct{})
		return nil
	})
	await(t, "the end of the run", func() bool { // the test's own reads are blind too
		run, err := s.Get(context.Background(), "run")
		return err == nil && run.Over()
	})
	d.mu.Lock()
	d.lose, d.left = 0, 0
	d.mu.Unlock()
	want := "[one two three four]"
	if fails {
		want = "[one two three not three not two not one]"
	}
	if got := fmt.Sprint(a.effects()); got != want {
		t.Errorf("the effects are %s, want %s", got, want)
	}
}
