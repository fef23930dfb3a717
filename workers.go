package argosy

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/argosy-go/argosy/service"
)

// workers runs the background loops of all services and stops them by stage.
type workers struct {
	stages [service.Output + 1]stage
}

type stage struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// startWorkers starts every worker of the services.
func startWorkers(services []*service.Setup) *workers {
	w := &workers{}
	for i := range w.stages {
		st := &w.stages[i]
		var ctx context.Context
		ctx, st.cancel = context.WithCancel(context.Background())
		for _, s := range services {
			for _, job := range s.Workers() {
				if job.Stage == service.Stage(i) {
					st.done.Go(func() { keepRunning(ctx, s.Log().With("worker", job.Name), job) })
				}
			}
		}
	}
	return w
}

// stop ends the workers of one stage and waits for them, as long as ctx lasts.
func (w *workers) stop(ctx context.Context, at service.Stage) error {
	st := &w.stages[at]
	st.cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		st.done.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("workers of stage %d did not stop: %w", at, context.Cause(ctx))
	}
}

const (
	firstPause = 100 * time.Millisecond
	longPause  = 10 * time.Second
)

// keepRunning runs a worker until ctx ends, again after a pause when it fails.
func keepRunning(ctx context.Context, log *slog.Logger, job service.Worker) {
	pause := firstPause
	for {
		begun := time.Now()
		err := runOnce(ctx, job)
		if ctx.Err() != nil {
			return
		}
		if time.Since(begun) > longPause {
			pause = firstPause
		}
		log.Error("worker failed; it is run again", "error", err, "pause", pause)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause/2 + rand.N(pause)):
		}
		pause = min(2*pause, longPause)
	}
}

// runOnce runs the worker and turns a panic into an error.
func runOnce(ctx context.Context, job service.Worker) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	if err := job.Run(ctx); err != nil {
		return err
	}
	return fmt.Errorf("it returned before it was stopped")
}
