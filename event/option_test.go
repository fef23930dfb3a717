package event_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/argosy-go/argosy/event"
	"github.com/argosy-go/argosy/event/internal/eventpb"
	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/store"
)

func TestAnAttemptEndsWithItsTimeout(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		var p placed
		a := start(t, config{declare: func(s *service.Setup) {
			p.Publisher = event.Publishes[*eventpb.Placed](s)
			event.Consume(s, func(ctx context.Context, _ *store.Tx, _ *eventpb.Placed) error {
				<-ctx.Done()
				return ctx.Err()
			}, event.Timeout(10*time.Millisecond), event.MaxAttempts(1))
		}})
		p.publish(a, "a", 1)
		a.await("the event is given up", func() bool { return len(a.letters()) == 1 })
		if l := a.letters()[0]; l.Attempts != 1 || !strings.Contains(l.Error, context.DeadlineExceeded.Error()) {
			t.Errorf("given up after %d attempts for %q", l.Attempts, l.Error)
		}
	})
}
