package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/argosy-go/argosy/broker"
)

// hasty is the pace of a test.
func hasty() *pace {
	return &pace{calm: 20 * time.Millisecond, alarmed: 20 * time.Millisecond, patience: 300 * time.Millisecond, failures: 2, roomBytes: 1 << 20}
}

func openHasty(t *testing.T, dir string) *Broker {
	t.Helper()
	b, err := Opener{pace: hasty()}.Open(t.Context(), broker.OpenOptions{Dir: dir, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b.(*Broker)
}

const watchTopic = "watch.v1.Event"

// publisher publishes one message after the other until stop is called, each
// until it is acknowledged.
type publisher struct {
	b       *Broker
	acked   atomic.Int64
	failing atomic.Bool
	done    chan struct{}
	cancel  context.CancelFunc
}

func publish(t *testing.T, b *Broker) *publisher {
	ctx, cancel := context.WithCancel(t.Context())
	p := &publisher{b: b, done: make(chan struct{}), cancel: cancel}
	t.Cleanup(cancel)
	go func() {
		defer close(p.done)
		for ctx.Err() == nil {
			m := broker.Message{ID: fmt.Sprint(p.acked.Load() + 1), Topic: watchTopic, Body: make([]byte, 500)}
			attempt, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
			errs := b.Publish(attempt, []broker.Message{m})
			cancel()
			p.failing.Store(errs != nil)
			if errs == nil {
				p.acked.Add(1)
			}
		}
	}()
	return p
}

// stop waits for the end of the publisher and returns how many were acknowledged.
func (p *publisher) stop() int64 {
	p.cancel()
	<-p.done
	return p.acked.Load()
}

// await waits until it holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for tick := time.Tick(5 * time.Millisecond); !holds(); {
		select {
		case <-tick:
		case <-deadline:
			t.Fatalf("it did not come about that %s", what)
		}
	}
}

// readAll receives messages 1 to n, each once, in their order.
func readAll(t *testing.T, b *Broker, n int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, err := b.Subscribe(ctx, broker.Subscription{Consumer: "reader", Topic: watchTopic, Partitions: []int{0}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for want := int64(1); want <= n; {
		ds, err := r.Receive(ctx, 100)
		if err != nil {
			t.Fatalf("message %d of %d: %v", want, n, err)
		}
		for _, d := range ds {
			if d.ID != fmt.Sprint(want) {
				t.Fatalf("message %s is there where %d belongs", d.ID, want)
			}
			want++
			if err := d.Ack(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestAServerThatStoresNothingIsStartedAgain(t *testing.T) {
	b := openHasty(t, t.TempDir())
	wedged := new(atomic.Bool)
	wedge(b, wedged)
	r, err := b.Subscribe(t.Context(), broker.Subscription{Consumer: "before", Topic: watchTopic, Partitions: []int{0}})
	if err != nil {
		t.Fatal(err)
	}
	p := publish(t, b)
	await(t, "messages are acknowledged", func() bool { return p.acked.Load() > 10 })
	for restarts := int64(1); restarts <= 3; restarts++ {
		wedged.Store(true)
		await(t, "the server is started again", func() bool { return b.Restarts() >= restarts })
		at := p.acked.Load()
		await(t, "messages are acknowledged again", func() bool { return p.acked.Load() > at+10 })
	}
	n := p.stop()
	readAll(t, b, n)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	seen := map[string]bool{}
	for int64(len(seen)) < n { // a receiver from before goes on; it may see some again
		ds, err := r.Receive(ctx, 100)
		if err != nil {
			t.Fatalf("after %d of %d: %v", len(seen), n, err)
		}
		for _, d := range ds {
			seen[d.ID] = true
			_ = d.Ack() // what is lost comes again
		}
	}
}

// wedge makes the server look as if it stored nothing, until it is started again.
func wedge(b *Broker, wedged *atomic.Bool) {
	b.unwatch()
	b.watching.Wait()
	probe, restart := b.watch.probe, b.watch.restart
	b.watch.probe = func(ctx context.Context) error {
		if wedged.Load() {
			return broker.ErrUnavailable
		}
		return probe(ctx)
	}
	b.watch.restart = func() error {
		wedged.Store(false)
		return restart()
	}
	rewatch(b)
}

func rewatch(b *Broker) {
	ctx, cancel := context.WithCancel(context.Background())
	b.unwatch = cancel
	b.watching.Go(func() { b.watch.run(ctx) })
}

func TestAServerIsNotStartedAgainWhileTheDiskIsFull(t *testing.T) {
	b := openHasty(t, t.TempDir())
	b.unwatch()
	b.watching.Wait()
	asked := make(chan struct{}, 1)
	full := new(atomic.Bool)
	full.Store(true)
	b.watch.room = func(int) error {
		if !full.Load() {
			return nil
		}
		select {
		case asked <- struct{}{}:
		default:
		}
		return errors.New("full")
	}
	wedged := new(atomic.Bool)
	wedged.Store(true)
	rewatch(b)
	wedge(b, wedged)
	for range 3 {
		<-asked
	}
	if n := b.Restarts(); n != 0 {
		t.Errorf("%d restarts on a full disk", n)
	}
	full.Store(false)
	await(t, "the server is started again", func() bool { return b.Restarts() >= 1 })
}

func TestACloseDuringARestartWaitsForIt(t *testing.T) {
	dir := t.TempDir()
	b := openHasty(t, dir)
	b.unwatch()
	b.watching.Wait()
	begun, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	b.watch.probe = func(context.Context) error { return broker.ErrUnavailable }
	restart := b.watch.restart
	b.watch.restart = func() error {
		once.Do(func() { close(begun); <-goOn })
		return restart()
	}
	rewatch(b)
	<-begun
	closed := make(chan error)
	go func() { closed <- b.Close() }()
	close(goOn)
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if b.host.server != nil {
		t.Error("a server runs on after Close")
	}
	if err := openHasty(t, dir).Probe(t.Context()); err != nil {
		t.Errorf("the directory is free and whole: %v", err)
	}
}

func TestAServerThatIsStartedAgainIsFoundWhereItWas(t *testing.T) {
	b, err := Opener{Listen: "127.0.0.1:0", pace: hasty()}.Open(t.Context(), broker.OpenOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	e := b.(*Broker)
	before := e.URL()
	if err := e.host.restart(); err != nil {
		t.Fatal(err)
	}
	if now := e.host.server.ClientURL(); now != before || e.URL() != before {
		t.Errorf("it listened at %s, and listens at %s", before, now)
	}
}
