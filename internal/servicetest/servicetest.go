// Package servicetest runs a declared service in tests of mechanisms, without
// the program round it:
//
//	s := service.New("shop", service.Options{})
//	... // declare, open the store, bind the broker
//	w := servicetest.Start(s, func(name string, err error) { t.Errorf("worker %s: %v", name, err) })
//	defer w.Stop()
package servicetest

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/argosy-go/argosy/service"
)

// pause is how long a worker that has failed is left alone.
const pause = 5 * time.Millisecond

// Workers are the workers of a service, at work. One goroutine uses it.
type Workers struct {
	stages [service.Output + 1]stage
	killed atomic.Bool
}

type stage struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// Start starts the workers of s. One that fails is run again, as a program
// does, after failed has been told of it.
func Start(s *service.Setup, failed func(worker string, err error)) *Workers {
	w := &Workers{}
	for i := range w.stages {
		st := &w.stages[i]
		var ctx context.Context
		ctx, st.cancel = context.WithCancel(context.Background())
		for _, job := range s.Workers() {
			if job.Stage == service.Stage(i) {
				st.done.Go(func() { w.keep(ctx, job, failed) })
			}
		}
	}
	return w
}

func (w *Workers) keep(ctx context.Context, job service.Worker, failed func(string, error)) {
	for ctx.Err() == nil && !w.killed.Load() {
		if err := job.Run(ctx); err != nil && !w.killed.Load() {
			failed(job.Name, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// Stop stops the workers stage by stage, as a drain does, and waits for them.
// Stopping them again does nothing.
func (w *Workers) Stop() {
	for i := range w.stages {
		w.stages[i].cancel()
		w.stages[i].done.Wait()
	}
}

// Kill stops all workers at once and waits for them; none that fails is told
// of or run again.
func (w *Workers) Kill() {
	w.killed.Store(true)
	for i := range w.stages {
		w.stages[i].cancel()
	}
	w.Stop()
}
