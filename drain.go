package argosy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/argosy-go/argosy/service"
)

// Stop drains the fleet and closes everything: readiness turns false, the load
// balancers get DrainWait to notice, no more events are fetched, handlers
// finish, workers end, outboxes pass on what they have, and broker and stores
// close last. ctx is the hard limit; what did not end by then is named in the
// error. Stop is idempotent and returns the same error again; after a failure
// it tells that too.
func (f *Fleet) Stop(ctx context.Context) error {
	f.stopOnce.Do(func() {
		f.stopErr = f.close(ctx)
		if why := f.failure.Load(); why != nil {
			f.stopErr = errors.Join(*why, f.stopErr)
		}
	})
	return f.stopErr
}

// close undoes the start, the last step first.
func (f *Fleet) close(ctx context.Context) error {
	var errs []error
	for _, c := range slices.Backward(f.closers) {
		if err := c.close(ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", c.what, err))
		}
	}
	f.closers = nil
	return errors.Join(errs...)
}

// drain ends the work in the order in which it flows.
func (f *Fleet) drain(ctx context.Context) error {
	f.ready.Store(false)
	f.server.SetServing(false)
	f.withdraw(ctx)
	pause(ctx, f.set.DrainWait)
	errs := []error{
		f.workers.stop(ctx, service.Intake),
		f.server.Shutdown(ctx),
		f.http.drain(ctx),
		f.workers.stop(ctx, service.Work),
		f.server.Wait(ctx),
		f.workers.stop(ctx, service.Output),
	}
	for _, s := range slices.Backward(f.services) {
		for _, h := range slices.Backward(s.StopHooks()) {
			if err := h.Run(ctx); err != nil {
				errs = append(errs, fmt.Errorf("service %s: %s: %w", s.Name(), h.Name, err))
			}
		}
	}
	errs = append(errs, f.admin.drain(ctx)) // last, so that an operator can look on
	f.serving.Wait()
	return errors.Join(errs...)
}

func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
