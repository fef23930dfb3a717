package sqlite

import "time"

// look is the watch over idle functions. It runs now and then while somebody
// holds the role. When a function has run no statement for the limit, and
// others wait, it takes the role over: it undoes what the function wrote and
// goes on with the queue, while the function sits where it sits. Its statements
// fail from then on, and its caller learns of it when it returns.
func (w *writer) look() {
	w.mu.Lock()
	if !w.leading {
		w.mu.Unlock()
		return
	}
	s := w.current
	again := w.limit
	if s != nil && w.othersWait() {
		idle, done := s.revoke(w.limit)
		if done {
			w.current = nil
			w.revoked.Add(1)
			w.watch.Reset(w.limit)
			w.role.Add(1)
			w.mu.Unlock()
			w.takeOver()
			return
		}
		again = w.limit - idle
	} else if s != nil {
		again = w.limit / 4 // somebody may come
	}
	w.watch.Reset(max(again, time.Millisecond))
	w.mu.Unlock()
}

// othersWait reports whether a caller other than that of the current function
// waits for something.
func (w *writer) othersWait() bool { return w.callers.Load()-w.revoked.Load() > 1 }

// takeOver continues with the role of a goroutine whose function was revoked.
func (w *writer) takeOver() {
	if err := w.rollbackFunction(); err != nil {
		w.abandonSpoilt(err)
	}
	w.lead()
}

// abandonSpoilt runs the group again after its transaction has gone.
func (w *writer) abandonSpoilt(cause error) {
	group := w.group
	w.group, w.open = nil, false
	if err := w.rollback(); err != nil {
		w.stop(group, cause)
		return
	}
	w.requeue(group, false)
}
