package memory_test

import (
	"context"
	"testing"
	"time"

	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/broker/brokertest"
	"github.com/argosy-go/argosy/broker/memory"
)

func open(t testing.TB, s *memory.Server, o broker.OpenOptions) broker.Broker {
	t.Helper()
	b, err := s.Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestConformance(t *testing.T) {
	brokertest.Run(t, brokertest.Adapter{New: func(t *testing.T) func() broker.Broker {
		s := memory.NewServer()
		return func() broker.Broker { return open(t, s, broker.OpenOptions{}) }
	}})
}

func TestTheServerKnowsWhatIsNotAcknowledged(t *testing.T) {
	s := memory.NewServer()
	b := open(t, s, broker.OpenOptions{})
	r, err := b.Subscribe(t.Context(), broker.Subscription{Consumer: "c", Topic: "t", Partitions: []int{0}})
	if err != nil {
		t.Fatal(err)
	}
	b.Publish(t.Context(), []broker.Message{{ID: "a", Topic: "t"}, {ID: "b", Topic: "t", Partition: 1}, {ID: "c", Topic: "t"}})
	if n := s.Unacknowledged(); n != 2 || len(s.Messages("t")) != 3 {
		t.Errorf("%d of %d messages wait, want 2 of 3", n, len(s.Messages("t")))
	}
	for n := 2; n > 0; n-- {
		ds, err := r.Receive(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Unacknowledged(); got != n {
			t.Errorf("%d messages wait before the acknowledgement, want %d", got, n)
		}
		if err := ds[0].Ack(); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.Unacknowledged(); n != 0 {
		t.Errorf("%d messages wait at the end", n)
	}
}

func TestMessagesAreKeptForAsLongAsWasAsked(t *testing.T) {
	s := memory.NewServer()
	b := open(t, s, broker.OpenOptions{MaxAge: time.Nanosecond})
	for _, id := range []string{"a", "b", "c"} {
		b.Publish(t.Context(), []broker.Message{{ID: id, Topic: "t"}})
	}
	if ms := s.Messages("t"); len(ms) > 1 {
		t.Errorf("%d messages are kept", len(ms))
	}
}
