package saga

import "testing"

// TestARunThatCameBackUnderALaterClaimIsNotForgotten has a run taken over by
// another instance and taken back while the record of the earlier claim still
// waits, or is driven: only the later one counts. Were it forgotten with the
// earlier one, the poller would claim it again and again, each time as the last
// of the queue.
func TestARunThatCameBackUnderALaterClaimIsNotForgotten(t *testing.T) {
	for name, driving := range map[string]bool{"while it waits": false, "while it is driven": true} {
		t.Run(name, func(t *testing.T) {
			e := &engine{open: true, active: runsAtOnce, mine: map[key]*record{}, wakeup: make(chan struct{}, 1)}
			k := key{"saga", "run"}
			early, late := &record{key: k, epoch: 1}, &record{key: k, epoch: 3}
			var driven *record
			e.accept(early)
			if driving {
				driven = e.next(nil)
			}
			e.accept(late)
			if r := e.next(driven); r != late {
				t.Fatalf("the next run is %+v", r)
			}
			if e.mine[k] != late {
				t.Error("the run is not known while it is driven")
			}
			if r := e.next(late); r != nil || len(e.mine) != 0 {
				t.Errorf("after it there are %v and %d in memory", r, len(e.mine))
			}
		})
	}
}
