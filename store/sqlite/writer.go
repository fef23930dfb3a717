package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/store"
)

// Limits of a group: how many functions share one commit, and how long the
// first of them waits for the others.
const (
	groupMax  = 512
	groupTime = 10 * time.Millisecond
)

// errBusy: another program holds the database's write lock.
var errBusy = fault.New(codes.Unavailable, "STORE_BUSY", "another program has the database locked").Refused()

// writer runs transaction functions in groups: each in a savepoint of its own,
// all acknowledged by one commit.
//
// Writing is a role that one goroutine holds at a time. It starts when there
// is work, works off the queue and ends. The role passes to a fresh goroutine
// when the old one is lost: a function on it called runtime.Goexit, or sits
// idle and was revoked. Fields below "role" belong to whoever holds the role.
type writer struct {
	raw   *raw
	db    *sql.DB // of facades
	limit time.Duration
	log   *slog.Logger

	mu      sync.Mutex
	queue   []*job
	leading bool     // somebody holds the role
	current *session // whose function is running
	refusal error    // why nothing more is accepted
	watch   *time.Timer
	role    sync.WaitGroup // goroutines that hold the role or held it

	callers atomic.Int64 // inside write
	revoked atomic.Int64 // of these, with a revoked function that has not returned

	// role
	open  bool // a transaction is open
	since time.Time
	group []*job // have run in it
}

// job is one call of Write.
type job struct {
	ctx context.Context
	fn  func(store.Conn) error
	// whole is a function that has the connection for itself, outside a transaction.
	whole func(*raw) error

	taken atomic.Bool // by the role, or by a caller who gave up
	alone bool        // must not share a commit
	done  chan struct{}

	// The outcome, read after done.
	err      error
	panicked any
	exited   bool // by runtime.Goexit
}

func newWriter(r *raw, db *sql.DB, limit time.Duration, log *slog.Logger) *writer {
	w := &writer{raw: r, db: db, limit: limit, log: log}
	w.watch = time.AfterFunc(time.Hour, w.look)
	w.watch.Stop()
	return w
}

// write runs a job and returns its outcome at its caller.
func (w *writer) write(j *job) error {
	if err := j.ctx.Err(); err != nil {
		return err
	}
	w.callers.Add(1)
	defer w.callers.Add(-1)
	j.done = make(chan struct{})
	if err := w.enqueue(j); err != nil {
		return err
	}
	select {
	case <-j.done:
	case <-j.ctx.Done():
		if j.taken.CompareAndSwap(false, true) {
			return j.ctx.Err()
		}
		<-j.done // its function runs or has run: wait for what became of it
	}
	if j.exited {
		runtime.Goexit()
	}
	if j.panicked != nil {
		panic(j.panicked)
	}
	return j.err
}

func (w *writer) enqueue(j *job) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refusal != nil {
		return w.refusal
	}
	w.queue = append(w.queue, j)
	if !w.leading {
		w.leading = true
		w.watch.Reset(w.limit)
		w.role.Add(1)
		go w.lead()
	}
	return nil
}

// close waits for the functions that have been accepted and refuses others.
func (w *writer) close() {
	w.refuse(store.ErrClosed)
	w.role.Wait()
}

// refuse makes err the answer to everything from now on.
func (w *writer) refuse(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refusal == nil || errors.Is(w.refusal, store.ErrClosed) {
		w.refusal = err
	}
}

// lead holds the role until there is nothing to do or the role is lost.
func (w *writer) lead() {
	defer w.role.Done()
	for {
		j := w.next()
		switch {
		case j == nil && w.open:
			w.commit()
		case j == nil:
			if w.retire() {
				return
			}
		case j.whole != nil:
			w.runWhole(j)
		case !w.run(j):
			return
		}
	}
}

// next takes the next job that belongs into the current group, or nil.
func (w *writer) next() *job {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.queue) > 0 {
		j := w.queue[0]
		if w.open && !w.joins(j) {
			return nil
		}
		w.queue[0] = nil
		w.queue = w.queue[1:]
		if j.taken.CompareAndSwap(false, true) {
			return j
		}
	}
	return nil
}

// joins reports whether j may join the open group.
func (w *writer) joins(j *job) bool {
	if j.whole != nil || j.alone {
		return false
	}
	if n := len(w.group); n > 0 && (w.group[n-1].alone || n >= groupMax) {
		return false
	}
	return time.Since(w.since) < groupTime
}

// retire gives the role up when there is nothing to do.
func (w *writer) retire() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) > 0 {
		return false
	}
	w.queue = nil
	w.leading = false
	w.watch.Stop()
	return true
}

// begin opens the transaction of a group.
func (w *writer) begin() error {
	if w.open {
		return nil
	}
	if err := w.raw.do("BEGIN IMMEDIATE"); err != nil {
		if codeOf(err) == codeBusy {
			return errBusy.Wrap(err)
		}
		return fmt.Errorf("begin: %w", explain(err))
	}
	w.open, w.since = true, time.Now()
	return nil
}

// run runs the function of a job in a savepoint and reports whether this
// goroutine holds the role afterwards.
func (w *writer) run(j *job) bool {
	if err := w.begin(); err != nil {
		j.settle(err)
		return true
	}
	s, err := newSession(w.db, w.raw, false)
	if err == nil {
		err = w.raw.do("SAVEPOINT function")
	}
	if err != nil {
		j.err = err
		w.spoil(j)
		return true
	}
	w.setCurrent(s)
	returned := false
	defer func() {
		if returned {
			return
		}
		// The function called runtime.Goexit, and this goroutine is ending.
		j.exited = true
		if w.finish(s, j) {
			w.role.Add(1)
			go w.lead()
		}
	}()
	j.call(s, w.log)
	returned = true
	return w.finish(s, j)
}

// call runs the function and keeps its panic for its caller.
func (j *job) call(s *session, log *slog.Logger) {
	defer func() {
		if j.panicked = recover(); j.panicked != nil {
			// The caller gets the value; the stack is to be had only here.
			log.Error("a transaction function panicked", "panic", fmt.Sprint(j.panicked), "stack", string(debug.Stack()))
		}
	}()
	j.err = j.fn(s)
}

func (w *writer) setCurrent(s *session) {
	w.mu.Lock()
	w.current = s
	w.mu.Unlock()
}

// finish ends the session of a job whose function has ended, and reports
// whether the role is still here: it is not when the session was revoked.
func (w *writer) finish(s *session, j *job) bool {
	poison, wasRevoked := s.end()
	s.release()
	if wasRevoked {
		w.revoked.Add(-1)
		j.settle(store.ErrRevoked)
		return false
	}
	w.setCurrent(nil)
	if j.err == nil {
		j.err = poison
	}
	if s.spoilt {
		w.spoil(j)
		return true
	}
	if j.err == nil && j.panicked == nil && !j.exited {
		if j.err = w.raw.do("RELEASE function"); j.err == nil {
			w.group = append(w.group, j)
			return true
		}
	}
	if err := w.rollbackFunction(); err != nil {
		w.spoil(j)
		return true
	}
	// A failure is told after the commit too: the function may have failed
	// because of what a sibling wrote.
	w.group = append(w.group, j)
	return true
}

// rollbackFunction undoes what the current function wrote.
func (w *writer) rollbackFunction() error {
	if err := w.raw.do("ROLLBACK TO function"); err != nil {
		return err
	}
	return w.raw.do("RELEASE function")
}

// settle tells the caller of a job its outcome.
func (j *job) settle(err error) {
	j.err = err
	close(j.done)
}

// runWhole runs a job that has the connection for itself.
func (w *writer) runWhole(j *job) {
	defer func() {
		j.panicked = recover()
		close(j.done)
	}()
	j.err = j.whole(w.raw)
}
