package brokertest

import (
	"errors"
	"fmt"
	"sync"

	"github.com/argosy-go/argosy/broker"
)

var lifeRules = map[string]func(*bench){
	"life/Declare may be repeated, by many at once":           declare,
	"life/Probe stores and leaves no trace":                   probe,
	"life/Close ends a Receive that waits":                    closeEndsReceive,
	"life/Close of the receiver ends a Receive that waits":    closeReceiver,
	"life/Close ends publications, each with a clear outcome": closeEndsPublish,
	"life/a closed broker says so":                            closed,
	"life/messages outlive the broker":                        reopened,
}

func declare(b *bench) {
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			topics := []broker.Topic{{Name: "brokertest.declared", Partitions: 64}, {Name: "brokertest.declared2", Partitions: 1}}
			if err := b.Declare(b.ctx, topics...); err != nil {
				b.Errorf("rule 3: Declare is idempotent and safe to call at once: %v", err)
			}
		})
	}
	wg.Wait()
	if err := b.Declare(b.ctx, broker.Topic{Name: "brokertest.none"}); err == nil {
		b.Error("a topic has at least one partition: Declare took none")
	}
	b.publish(message("brokertest.declared", 63, "m"))
	b.holds("rule 1: what is published to a declared topic is stored", "brokertest.declared", 63, []string{"m"})
}

func probe(b *bench) {
	for range 3 {
		if err := b.Probe(b.ctx); err != nil {
			b.Errorf("rule 4: Probe confirms a message: %v", err)
		}
	}
}

func closeEndsReceive(b *bench) {
	r := b.subscribe("c", "brokertest.close", 0)
	ended := make(chan error)
	go func() {
		_, err := r.Receive(b.ctx, 1)
		ended <- err
	}()
	if err := b.Close(); err != nil {
		b.Errorf("Close: %v", err)
	}
	if err := <-ended; !errors.Is(err, broker.ErrClosed) {
		b.Errorf("rule 5: Close ends a Receive with ErrClosed: %v", err)
	}
	if err := r.Close(); err != nil {
		b.Errorf("a receiver may be closed after its broker: %v", err)
	}
}

func closeReceiver(b *bench) {
	r := b.subscribe("c", "brokertest.close_receiver", 0)
	ended := make(chan error)
	go func() {
		_, err := r.Receive(b.ctx, 1)
		ended <- err
	}()
	for range 2 {
		if err := r.Close(); err != nil {
			b.Errorf("receiver rule 3: Close, also a second time: %v", err)
		}
	}
	if err := <-ended; !errors.Is(err, broker.ErrClosed) {
		b.Errorf("receiver rule 3: Close ends a Receive with ErrClosed: %v", err)
	}
	if _, err := r.Receive(b.ctx, 1); !errors.Is(err, broker.ErrClosed) {
		b.Errorf("receiver rule 3: Receive after Close returns ErrClosed: %v", err)
	}
}

// closeEndsPublish closes the broker while callers publish: what was reported
// as stored must be there afterwards.
func closeEndsPublish(b *bench) {
	const topic = "brokertest.close_publish"
	var mu sync.Mutex
	stored := map[string]bool{}
	var wg sync.WaitGroup
	under := make(chan struct{}, 8)
	for c := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				ms := numbered(topic, c, fmt.Sprintf("c%d-%d", c, i), 3)
				errs := b.Publish(b.ctx, ms)
				mu.Lock()
				for j, m := range ms {
					if errs == nil || errs[j] == nil {
						stored[m.ID] = true
					} else if !errors.Is(errs[j], broker.ErrClosed) && !errors.Is(errs[j], broker.ErrUnavailable) {
						b.Errorf("rule 5: Close ends a publication with ErrClosed or ErrUnavailable: %v", errs[j])
					}
				}
				mu.Unlock()
				if errs != nil {
					return
				}
				if i == 3 {
					under <- struct{}{}
				}
			}
		})
	}
	for range 8 {
		<-under
	}
	if err := b.Close(); err != nil {
		b.Errorf("Close: %v", err)
	}
	wg.Wait()
	b.Broker = b.reopen()
	for c := range 8 {
		end := fmt.Sprintf("end%d", c)
		b.publish(message(topic, c, end))
		r := b.subscribe("c", topic, c)
		for {
			d := b.take(r, 1)[0]
			b.ack(d)
			if d.ID == end {
				break
			}
			delete(stored, d.ID)
		}
	}
	for id := range stored {
		b.Errorf("rule 1: %s was reported as stored and is lost", id)
	}
}

func closed(b *bench) {
	for range 2 {
		if err := b.Close(); err != nil {
			b.Errorf("Close, also a second time: %v", err)
		}
	}
	if errs := b.Publish(b.ctx, numbered("brokertest.closed", 0, "m", 2)); len(errs) != 2 || !errors.Is(errs[1], broker.ErrClosed) {
		b.Errorf("Publish to a closed broker fails with ErrClosed: %v", errs)
	}
	if _, err := b.Subscribe(b.ctx, broker.Subscription{Consumer: "c", Topic: "a", Partitions: []int{0}}); !errors.Is(err, broker.ErrClosed) {
		b.Errorf("Subscribe at a closed broker fails with ErrClosed: %v", err)
	}
	if err := b.Probe(b.ctx); !errors.Is(err, broker.ErrClosed) {
		b.Errorf("Probe of a closed broker fails with ErrClosed: %v", err)
	}
}

func reopened(b *bench) {
	const topic = "brokertest.outlive"
	ms := numbered(topic, 0, "m", 30)
	b.publish(ms...)
	if err := b.Close(); err != nil {
		b.Fatalf("Close: %v", err)
	}
	b.Broker = b.reopen()
	b.holds("rule 1: what was stored is there after a restart", topic, 0, ids(ms))
}
