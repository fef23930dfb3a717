package event_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/event"
	"github.com/argosy-go/argosy/event/internal/eventpb"
	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/store"
)

// power fails at one point of a run: from there on no store and no broker
// does anything any more. There is a point before and after every transaction,
// every publication and every acknowledgement.
type power struct {
	changed *signal

	mu    sync.Mutex
	at    int // the point of failure; 0: never
	point int
	off   bool
}

var errPower = errors.New("power failure")

// spend passes a point; it fails when the power is off.
func (p *power) spend() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.point++
	if p.point == p.at {
		p.off = true
		p.changed.notify()
	}
	if p.off {
		return errPower
	}
	return nil
}

func (p *power) failed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.off
}

// transaction is a point of a store: see engine.fail.
func (p *power) transaction(_ context.Context, committed bool) error {
	err := p.spend()
	if err != nil && committed {
		return store.ErrUnknown
	}
	return err
}

// fragile is a broker that stops with the power.
type fragile struct {
	*fake
	power *power
}

func (f fragile) Publish(ctx context.Context, ms []broker.Message) []error {
	all := func(err error) []error {
		errs := make([]error, len(ms))
		for i := range errs {
			errs[i] = broker.ErrUnavailable.Wrap(err)
		}
		return errs
	}
	if err := f.power.spend(); err != nil {
		return all(err)
	}
	errs := f.fake.Publish(ctx, ms)
	if err := f.power.spend(); err != nil {
		return all(err)
	}
	return errs
}

func (f fragile) Subscribe(ctx context.Context, s broker.Subscription) (broker.Receiver, error) {
	if f.power.failed() {
		return nil, broker.ErrUnavailable
	}
	r, err := f.fake.Subscribe(ctx, s)
	return fragileReceiver{r, f.power}, err
}

type fragileReceiver struct {
	broker.Receiver
	power *power
}

func (r fragileReceiver) Receive(ctx context.Context, n int) ([]broker.Delivery, error) {
	ds, err := r.Receiver.Receive(ctx, n)
	for i := range ds {
		ack := ds[i].Ack
		ds[i].Ack = func() error {
			if err := r.power.spend(); err != nil {
				return err
			}
			return ack()
		}
	}
	return ds, err
}

// TestACrashAtAnyPointLosesAndDoublesNothing runs the same work again and
// again, cuts the power at the first point, the second, …, starts again and
// compares what was committed with what it led to. On Postgres, where a start
// takes longer, it takes every third point unless ARGOSY_LONG is 1.
func TestACrashAtAnyPointLosesAndDoublesNothing(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		step := 1
		if t.kind == store.Postgres && !long() {
			step = 3
		}
		points := 0
		for at := 1; ; at += step {
			changed := &signal{}
			p := &power{changed: changed, at: at}
			if !crash(t, p) {
				break
			}
			points++
		}
		if points < 20/step {
			t.Errorf("only %d points of failure were found", points)
		}
		t.Logf("%d points of failure", points)
	})
}

// crash does the work with that power supply and reports whether it failed.
func crash(t storeTest, p *power) bool {
	t.Helper()
	b := newFake(p.changed)
	var out placed
	attempts := map[string]int{}
	var mu sync.Mutex
	flaky := func(ctx context.Context, tx *store.Tx, m *eventpb.Placed) error {
		mu.Lock()
		attempts[m.OrderId]++
		first := attempts[m.OrderId] == 1
		mu.Unlock()
		if m.OrderId == "flaky" && first {
			return errors.New("not at first")
		}
		return record(ctx, tx, m)
	}
	c := config{name: fmt.Sprint("shop", p.at), set: shortLeases, dir: t.TempDir(), broker: fragile{b, p}, changed: p.changed, declare: func(s *service.Setup) {
		out.Publisher = event.Publishes[*eventpb.Placed](s)
		event.Consume(s, flaky, event.Backoff(time.Microsecond, time.Millisecond), event.MaxAttempts(1_000_000))
	}, fail: p.transaction}
	committed := map[string][]int64{}
	a, err := tryStart(t, c)
	if err == nil {
		for n := range int64(3) {
			for _, key := range []string{"steady", "flaky"} {
				err := a.db.Do(context.Background(), func(ctx context.Context, tx *store.Tx) error {
					out.Publish(tx, &eventpb.Placed{OrderId: key, Number: n})
					return nil
				})
				if err == nil || errors.Is(err, store.ErrUnknown) { // the fake has committed it when it says so
					committed[key] = append(committed[key], n)
				}
			}
		}
		a.await("the work is done or the power is off", func() bool { return p.failed() || quiet(a, 6) })
	}
	failed := p.failed()
	a.kill()
	c.broker, c.fail = b, nil
	a = start(t, c)
	total := len(committed["steady"]) + len(committed["flaky"])
	a.await(fmt.Sprintf("after a failure at point %d it is quiet with %d effects", p.at, total), func() bool { return quiet(a, total) })
	got := a.effects()
	for key, want := range committed {
		if have := ofKey(got, key); !slices.Equal(have, want) {
			t.Errorf("after a failure at point %d: committed %v of key %s and had the effects %v", p.at, want, key, have)
		}
	}
	a.stop()
	return failed
}

// quiet reports whether nothing waits and n effects happened.
func quiet(a *app, n int) bool {
	outbox, pending, _ := a.backlog()
	return outbox == 0 && pending == 0 && len(a.effects()) >= n
}
