package main

import (
	"context"
	"errors"
	"fmt"
	"os"

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
	s.OnStop("stop the bank and the carrier", w.stop)
	return nil
}}

type outside struct {
	setup *argosy.Setup
	cfg   struct {
		Start bool `default:"true" usage:"start the bank and the carrier; without it, --payment.bank-url and --shipping.carrier-url say where they are"`
	}
	running []*witness.Process
}

func (w *outside) start(ctx context.Context) error {
	if !w.cfg.Start {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir := w.setup.Dir()
	secret, err := partner.Secret(dir)
	if err != nil {
		return err
	}
	for _, name := range []string{"bank", "carrier"} {
		p, err := witness.Ensure(ctx, witness.Launch{
			Name: name, Dir: partner.Directory(dir), Command: []string{self, name},
			Webhook: fmt.Sprintf("http://%s/v1/webhooks/%s", w.setup.HTTPAddr(), name), Secret: secret,
		})
		if err != nil {
			return err
		}
		w.running = append(w.running, p)
		how := "started"
		if p.Adopted {
			how = "was still running, adopted"
		}
		w.setup.Hint("%-8s %s, pid %d, %s", name, p.URL(), p.PID, how)
	}
	return nil
}

func (w *outside) stop(ctx context.Context) error {
	var errs []error
	for _, p := range w.running {
		errs = append(errs, p.Stop(ctx))
	}
	return errors.Join(errs...)
}
