package saga

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/store"
)

// An instance that stops while the result of an attempt cannot be stored gives
// the run back. Whoever cancels it then must undo what the attempt may have
// done, which is nowhere on record, and nothing that certainly was not done.
func TestADrainHandsOnWhatItIsNotSureOf(t *testing.T) {
	onEachStore(t, testADrainHandsOnWhatItIsNotSureOf)
}

func testADrainHandsOnWhatItIsNotSureOf(t storeTest) {
	tests := map[string]struct {
		step  func(j *journal, reached func()) Step[state]
		calls string
	}{
		"a call that was answered": {func(j *journal, reached func()) Step[state] {
			return Do("b", func(context.Context, state) error { j.add("b"); reached(); return nil }).Undo(j.does("-b"))
		}, "a b -b -a"},
		"a call that failed": {func(j *journal, reached func()) Step[state] {
			return Do("b", func(context.Context, state) error { j.add("b"); reached(); return errPlain }).Undo(j.does("-b"))
		}, "a b -b -a"},
		"a call that ended its goroutine": {func(j *journal, reached func()) Step[state] {
			return Do("b", func(context.Context, state) error { j.add("b"); reached(); runtime.Goexit(); return nil }).Undo(j.does("-b"))
		}, "a b -b -a"},
		"a transaction that was rolled back": {func(j *journal, reached func()) Step[state] {
			return DoTx("b", func(context.Context, *store.Tx, state) error { reached(); return errPlain }).UndoTx(j.writes("-b"))
		}, "a -a"},
	}
	for name, tt := range tests {
		t.Run(name, func(t storeTest) {
			dir, j := t.TempDir(), &journal{}
			var s Saga[state]
			var a *app
			var away atomic.Bool
			// The store is back when the steps have given up, before the drain
			// gives the runs back.
			fail := func() bool {
				if !away.Load() {
					return false
				}
				a.e.mu.Lock()
				defer a.e.mu.Unlock()
				return a.e.open || a.e.active > 0
			}
			reached, stopped := make(chan struct{}), make(chan struct{})
			declare := func(step Step[state]) func(*service.Setup) {
				return func(setup *service.Setup) {
					s = Define(setup, "course", Do("a", j.does("a")).Undo(j.does("-a")), step, Pivot("p", nothing))
				}
			}
			a = start(t, config{dir: dir, faulty: true, store: flaky{t, fail}, declare: declare(tt.step(j, func() {
				if away.CompareAndSwap(false, true) {
					close(reached)
				}
				<-stopped
			}))})
			begin(a, s, "1")
			<-reached
			go func() { defer close(stopped); await(t, "the instance stops", a.e.stopping) }()
			a.workers.Stop()
			away.Store(false)
			if ok, err := cancel(t, a, s, "1"); !ok || err != nil {
				t.Fatal(ok, err)
			}
			a.stop()
			start(t, config{dir: dir, declare: declare(tt.step(j, func() {}))})
			if run := wait(t, s, "1"); run.State != Compensated {
				t.Errorf("the run is %s", run.State)
			}
			if got := fmt.Sprint(j); got != tt.calls {
				t.Errorf("called %q, want %q", got, tt.calls)
			}
		})
	}
}
