package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"sync"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/shop/partner"
	"github.com/argosy-go/argosy/shop/witness"
)

// witnesses starts the bank and the carrier as child processes, or adopts
// those that outlived a killed fleet, and tells them where to send webhooks.
var witnesses = argosy.Service{Name: "witness", Setup: func(s *argosy.Setup) error {
	w := &outside{setup: s}
	s.Config(&w.cfg)
	s.OnStart("start the bank and the carrier", w.start)
	s.Go("keep the bank and the carrier running", w.keep)
	s.OnStop("stop the bank and the carrier", w.stop)
	return nil
}}

type outside struct {
	setup *argosy.Setup
	cfg   struct {
		Start bool `default:"true" usage:"start the bank and the carrier; without it, --payment.bank-url and --shipping.carrier-url say where they are"`
	}
	mu      sync.Mutex
	running map[string]*witness.Process
}

func (w *outside) start(ctx context.Context) error {
	if !w.cfg.Start {
		return nil
	}
	w.running = map[string]*witness.Process{}
	for _, name := range []string{"bank", "carrier"} {
		p, err := w.ensure(ctx, name)
		if err != nil {
			return err
		}
		how := "started"
		if p.Adopted {
			how = "was still running, adopted"
		}
		w.setup.Hint("%-8s %s, pid %d, %s", name, p.URL(), p.PID, how)
	}
	return nil
}

// ensure starts or adopts a witness.
func (w *outside) ensure(ctx context.Context, name string) (*witness.Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir := w.setup.Dir()
	secret, err := partner.Secret(dir)
	if err != nil {
		return nil, err
	}
	p, err := witness.Ensure(ctx, witness.Launch{
		Name: name, Dir: partner.Directory(dir), Command: []string{self, name},
		Webhook: fmt.Sprintf("%s/v1/webhooks/%s", w.setup.Origin(), name), Secret: secret,
	})
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running[name] = p
	return p, nil
}

// keep starts a witness again that this process started and that has died.
func (w *outside) keep(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	for name, p := range w.snapshot() {
		all.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-p.Exited():
				}
				w.setup.Log().Error("a witness has died and is started again", "witness", name, "pid", p.PID)
				again, err := w.ensure(ctx, name)
				if err != nil {
					w.setup.Log().Error("a witness cannot be started; orders wait for it", "witness", name, "error", err)
					return
				}
				p = again
			}
		})
	}
	<-ctx.Done()
	return nil
}

// snapshot returns the witnesses by name.
func (w *outside) snapshot() map[string]*witness.Process {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.running)
}

func (w *outside) stop(ctx context.Context) error {
	var errs []error
	for _, p := range w.snapshot() {
		errs = append(errs, p.Stop(ctx))
	}
	return errors.Join(errs...)
}
