package memory_test

import (
	"context"
	"testing"
	"testing/synctest"
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
	if n := s.Unacknowledged("t", "c"); n != 3 || len(s.Messages("t")) != 3 {
		t.Errorf("%d of %d messages wait, want 3 of 3: nobody has subscribed to partition 1", n, len(s.Messages("t")))
	}
	for n := 3; n > 1; n-- {
		ds, err := r.Receive(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Unacknowledged("t", "c"); got != n {
			t.Errorf("%d messages wait before the acknowledgement, want %d", got, n)
		}
		if err := ds[0].Ack(); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.Unacknowledged("t", "c"); n != 1 {
		t.Errorf("%d messages wait at the end, want the one of partition 1", n)
	}
	if n := s.Unacknowledged("t", "other"); n != 3 {
		t.Errorf("%d messages wait for a consumer that was never seen", n)
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

func TestWhatIsNotAcknowledgedComesAgainAfterThePatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, memory.NewServer(), broker.OpenOptions{})
		r, err := b.Subscribe(t.Context(), broker.Subscription{Consumer: "c", Topic: "t", Partitions: []int{0}})
		if err != nil {
			t.Fatal(err)
		}
		b.Publish(t.Context(), []broker.Message{{ID: "a", Topic: "t"}})
		begun := time.Now()
		for attempt := 1; attempt <= 3; attempt++ {
			ds, err := r.Receive(t.Context(), 1)
			if err != nil || len(ds) != 1 || ds[0].Attempt != attempt {
				t.Fatalf("attempt %d: %v, %+v", attempt, err, ds)
			}
			if waited := time.Since(begun); waited != time.Duration(attempt-1)*memory.Patience {
				t.Errorf("attempt %d came after %v", attempt, waited)
			}
		}
	})
}
