package auth

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// reloaded is a value that is made of files, and made again when one of them
// has changed: they are looked at when the value is used, and no more often
// than every so often, so nothing runs in the background. When the new files do
// not make a value (the certificate was replaced, its key not yet), the old
// value stays and they are tried again.
type reloaded[T any] struct {
	load   func() (*T, error)
	paths  []string
	every  time.Duration
	now    func() time.Time
	report func(error) // told once of each state of the files that is no good; may be nil

	value atomic.Pointer[T]
	next  atomic.Int64 // when the files are looked at again, in Unix nanoseconds
	mu    sync.Mutex
	made  []fs.FileInfo // what the files of value were
	bad   []fs.FileInfo // what the files were when they were no good
}

// open makes the first value.
func (r *reloaded[T]) open() error {
	seen, err := r.stat()
	if err != nil {
		return err
	}
	v, err := r.load()
	if err != nil {
		return err
	}
	r.made = seen
	r.value.Store(v)
	r.next.Store(r.now().Add(r.every).UnixNano())
	return nil
}

// get returns the value of the files as they were a moment ago.
func (r *reloaded[T]) get() *T {
	if now := r.now().UnixNano(); now >= r.next.Load() && r.mu.TryLock() {
		defer r.mu.Unlock()
		r.look()
	}
	return r.value.Load()
}

// look makes the value again when a file has changed. The lock is held.
func (r *reloaded[T]) look() {
	r.next.Store(r.now().Add(r.every).UnixNano())
	seen, err := r.stat() // before they are read: a change in between is seen the next time
	if err == nil && same(seen, r.made) {
		return
	}
	var v *T
	if err == nil {
		v, err = r.load()
	}
	if err != nil {
		if r.report != nil && (r.bad == nil || !same(seen, r.bad)) {
			r.report(err)
		}
		r.bad = append([]fs.FileInfo{}, seen...)
		return
	}
	r.made, r.bad = seen, nil
	r.value.Store(v)
}

func (r *reloaded[T]) stat() ([]fs.FileInfo, error) {
	all := make([]fs.FileInfo, len(r.paths))
	var errs []error
	for i, p := range r.paths {
		info, err := os.Stat(p)
		if all[i] = info; err != nil {
			all[i] = nil
			errs = append(errs, err)
		}
	}
	return all, errors.Join(errs...)
}

// same reports whether files have not changed. A secret that Kubernetes mounts
// changes by a symbolic link: it is another file then.
func same(a, b []fs.FileInfo) bool {
	return slices.EqualFunc(a, b, func(a, b fs.FileInfo) bool {
		if a == nil || b == nil {
			return a == nil && b == nil
		}
		return a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size() && os.SameFile(a, b)
	})
}
