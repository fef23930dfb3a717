package event_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/broker/embedded"
	"github.com/argosy-go/argosy/event"
	"github.com/argosy-go/argosy/event/internal/eventpb"
	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/store"
)

// openBroker opens the embedded broker in dir.
func openBroker(t testing.TB, dir string) broker.Broker {
	t.Helper()
	b, err := embedded.Opener{}.Open(context.Background(), broker.OpenOptions{Dir: dir, Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// closeBroker closes a broker.
func closeBroker(t testing.TB, b broker.Broker) {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

func TestEventsSurviveRestartsOfServiceAndBroker(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		dir := t.TempDir()
		var p placed
		block := make(chan struct{})
		entered := make(chan struct{}, 100)
		c := config{dir: dir, declare: func(s *service.Setup) {
			p.Publisher = event.Publishes[*eventpb.Placed](s)
			event.Consume(s, func(ctx context.Context, tx *store.Tx, m *eventpb.Placed) error {
				entered <- struct{}{}
				<-block
				return fmt.Errorf("the service is going down: %w", context.Canceled)
			}, event.MaxAttempts(1_000_000))
		}}
		b := openBroker(t, dir)
		c.broker = b
		c.fail = func(context.Context, bool) error { return nil }
		a := start(t, c)
		p.publish(a, "a", 1, 2, 3)
		<-entered // 1 is being handled, 2 and 3 wait in memory
		crashed := make(chan struct{})
		go func() { // the process dies: the broker first, so that nothing is acknowledged
			defer close(crashed)
			closeBroker(t, b)
			close(block)
			a.kill()
		}()
		<-crashed

		b = openBroker(t, dir)
		defer closeBroker(t, b)
		c.broker = b
		c.declare = func(s *service.Setup) {
			p.Publisher = event.Publishes[*eventpb.Placed](s)
			event.Consume(s, record, quick)
		}
		begun := time.Now()
		a = start(t, c)
		p.publish(a, "a", 4, 5)
		got := ofKey(a.awaitEffects(5), "a")
		if !slices.Equal(got, []int64{1, 2, 3, 4, 5}) {
			t.Errorf("after the restart the key came as %v", got)
		}
		if d := time.Since(begun); d > 5*time.Second {
			t.Errorf("what was under way came again after %v", d)
		}
		a.stop()
	})
}
