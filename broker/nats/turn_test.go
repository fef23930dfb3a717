package nats_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/argosy-go/argosy/broker"
)

// A process that stood still while another took its place asks for messages
// when it goes on. It must get none: what it took would come late to the other,
// behind what came after it.
func TestAReceiverIsSupersededByTheNext(t *testing.T) {
	t.Parallel()
	server := serve(t, t.TempDir(), "127.0.0.1:0")
	first, second := connect(t, server.URL()), connect(t, server.URL())
	s := broker.Subscription{Consumer: "c", Topic: "superseded", Partitions: []int{0}}
	open := func(b broker.Broker) broker.Receiver {
		t.Helper()
		r, err := b.Subscribe(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	old := open(first)
	now := open(second)
	// What the first asked for before expires within seconds; then it asks again.
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if ds, err := old.Receive(ctx, 1); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("the receiver before the last goes on: %v, %v", ds, err)
	}
	publish(t, first, messages(s.Topic, 0, 0, 3))
	for n := 0; n < 3; {
		ds, err := now.Receive(ctx, 3)
		if err != nil {
			t.Fatalf("the last receiver has %d of 3 messages: %v", n, err)
		}
		n += len(ds)
	}
}
