package order

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"

	orderpb "github.com/argosy-go/argosy/shop/gen/order/v1"
	"github.com/argosy-go/argosy/store"
)

// look is how often a watched order is read when nobody wakes its watcher: a
// change may come from another replica.
const look = time.Second

// WatchOrder implements orderpb.OrdersServer.
func (o *orders) WatchOrder(req *orderpb.WatchOrderRequest, out grpc.ServerStreamingServer[orderpb.Order]) error {
	ctx := out.Context()
	woken, stop := o.watchers.watch(req.Id)
	defer stop()
	tick := time.NewTicker(look)
	defer tick.Stop()
	ord, err := o.GetOrder(ctx, &orderpb.GetOrderRequest{Id: req.Id})
	if err != nil {
		return err
	}
	for sent := int64(0); ; {
		if ord.Version != sent {
			if err := out.Send(ord); err != nil {
				return err
			}
			sent = ord.Version
		}
		if ended(ord) {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-woken:
		case <-tick.C:
		}
		err := o.db.Read(ctx, func(ctx context.Context, q store.Querier) (err error) {
			ord, err = o.renewed(ctx, q, ord)
			return err
		})
		if err != nil {
			return err
		}
	}
}

// ended reports whether nothing more is to come that a watcher waits for.
func ended(ord *orderpb.Order) bool {
	switch ord.State {
	case orderpb.State_CONFIRMED, orderpb.State_CANCELLED, orderpb.State_REVIEW:
		return true
	}
	return false
}

// watchers wakes those who watch an order. The zero value is ready; safe for
// concurrent use.
type watchers struct {
	mu   sync.Mutex
	byID map[string]map[chan struct{}]bool
}

// watch returns a channel that gets a value after the order changed, and a
// function that ends it.
func (w *watchers) watch(id string) (<-chan struct{}, func()) {
	c := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byID == nil {
		w.byID = map[string]map[chan struct{}]bool{}
	}
	if w.byID[id] == nil {
		w.byID[id] = map[chan struct{}]bool{}
	}
	w.byID[id][c] = true
	return c, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.byID[id], c)
		if len(w.byID[id]) == 0 {
			delete(w.byID, id)
		}
	}
}

func (w *watchers) wake(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.byID[id] {
		select {
		case c <- struct{}{}:
		default: // it is awake already
		}
	}
}
