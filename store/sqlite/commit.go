package sqlite

import (
	"github.com/argosy-go/argosy/store"
)

// commit commits the group and tells its callers. Nobody is told anything
// before the commit has returned, which is after the fsync.
func (w *writer) commit() {
	err := w.raw.do("COMMIT")
	w.open = false
	group := w.group
	w.group = nil
	if err == nil {
		for _, j := range group {
			j.settle(j.err)
		}
		clear(group)
		w.group = group[:0]
		return
	}
	switch codeOf(err) {
	case codeFull:
		// The frames did not fit, so the commit is not in the log.
		w.abandon(group, store.ErrFull.Wrap(err))
	case codeBusy:
		w.abandon(group, errBusy.Wrap(err))
	case codeConstraint:
		w.rerun(group, err)
	default:
		w.stop(group, err)
	}
}

// abandon rolls the group back and tells all of it err.
func (w *writer) abandon(group []*job, err error) {
	if rerr := w.rollback(); rerr != nil {
		w.stop(group, rerr)
		return
	}
	for _, j := range group {
		j.settle(err)
	}
}

// rerun rolls back a group whose commit was refused with err, and runs its
// functions again, each in a commit of its own, so that only the offender fails.
func (w *writer) rerun(group []*job, err error) {
	if len(group) == 1 {
		w.abandon(group, err)
		return
	}
	if rerr := w.rollback(); rerr != nil {
		w.stop(group, rerr)
		return
	}
	w.requeue(group, true)
}

// spoil is called when a function took the whole transaction with it, as a
// table's ON CONFLICT ROLLBACK does: its siblings run again without it.
func (w *writer) spoil(offender *job) {
	group := w.group
	w.group, w.open = nil, false
	if err := w.rollback(); err != nil {
		w.stop(append(group, offender), err)
		return
	}
	if len(group) == 0 {
		offender.settle(offender.err)
		return
	}
	w.requeue([]*job{offender}, true) // it may have failed because of a sibling
	w.requeue(group, false)
}

// rollback makes sure that no transaction is open.
func (w *writer) rollback() error {
	if err := w.raw.do("ROLLBACK"); err == nil {
		return nil
	}
	// SQLite may have rolled back by itself. A transaction can be begun if so.
	if err := w.raw.do("BEGIN"); err != nil {
		return err
	}
	return w.raw.do("ROLLBACK")
}

// requeue puts jobs that have run back to the head of the queue, in order. A
// function that panicked or exited has had its run.
func (w *writer) requeue(jobs []*job, alone bool) {
	var again []*job
	for _, j := range jobs {
		if j.panicked != nil || j.exited {
			j.settle(j.err)
			continue
		}
		j.err = nil
		j.alone = j.alone || alone
		j.taken.Store(false)
		again = append(again, j)
	}
	w.mu.Lock()
	w.queue = append(again, w.queue...)
	w.mu.Unlock()
}

// stop is called when it cannot be known what is on the disk: the group learns
// that, and nothing is written until the store has been opened again.
func (w *writer) stop(group []*job, cause error) {
	w.open = false
	w.group = nil
	w.log.Error("the store stops writing: the outcome of a commit is unknown", "error", cause)
	w.mu.Lock()
	w.refusal = store.ErrStopped.Wrap(cause)
	queue := w.queue
	w.queue = nil
	w.mu.Unlock()
	for _, j := range group {
		j.settle(store.ErrUnknown.Wrap(cause))
	}
	for _, j := range queue {
		if j.taken.CompareAndSwap(false, true) {
			j.settle(store.ErrStopped.Wrap(cause))
		}
	}
	if err := w.rollback(); err != nil {
		w.log.Warn("the failed transaction could not be rolled back", "error", err)
	}
}
