package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/broker/embedded"
)

const (
	topic         = "powercut.v1.Written"
	brokerCallers = 8
)

// writeBroker publishes in calls of one to five messages.
func writeBroker(ctx context.Context, dir string, a *account) error {
	b, err := embedded.Opener{}.Open(ctx, broker.OpenOptions{Dir: dir})
	if err != nil {
		return err
	}
	callers, ctx := errgroup.WithContext(ctx)
	for p := range brokerCallers {
		callers.Go(func() error {
			for n := 0; ; n++ {
				var ms []broker.Message
				for range 1 + n%5 {
					ms = append(ms, broker.Message{ID: a.next(), Topic: topic, Partition: p, Body: make([]byte, 300)})
				}
				if errs := b.Publish(ctx, ms); errs != nil {
					return errors.Join(errs...)
				}
				for _, m := range ms {
					a.done(m.ID)
				}
			}
		})
	}
	return errors.Join(callers.Wait(), b.Close())
}

// end begins the id of a message that ends a list.
const end = "end-"

// listBroker reads all partitions from the beginning to a message of its own.
func listBroker(ctx context.Context, dir string, found func(id string)) error {
	b, err := embedded.Opener{}.Open(ctx, broker.OpenOptions{Dir: dir})
	if err != nil {
		return err
	}
	defer b.Close()
	last := fmt.Sprint(end, os.Getpid())
	var all []int
	for p := range brokerCallers {
		all = append(all, p)
		if errs := b.Publish(ctx, []broker.Message{{ID: fmt.Sprint(last, "-", p), Topic: topic, Partition: p}}); errs != nil {
			return errors.Join(errs...)
		}
	}
	r, err := b.Subscribe(ctx, broker.Subscription{Consumer: last, Topic: topic, Partitions: all})
	if err != nil {
		return err
	}
	for ends := 0; ends < len(all); {
		ds, err := r.Receive(ctx, 256)
		if err != nil {
			return err
		}
		for _, d := range ds {
			switch {
			case strings.HasPrefix(d.ID, last+"-"):
				ends++
			case !strings.HasPrefix(d.ID, end):
				found(d.ID)
			}
			if err := d.Ack(); err != nil {
				return err
			}
		}
	}
	return nil
}
