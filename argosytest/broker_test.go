package argosytest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/broker/memory"
)

// receive takes deliveries, acknowledging each, until n messages are known,
// and returns the ids in the order of all deliveries.
func receive(t *testing.T, b broker.Broker, n int) []string {
	t.Helper()
	r, err := b.Subscribe(t.Context(), broker.Subscription{Consumer: "c", Topic: "t", Partitions: []int{0}})
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for seen := map[string]bool{}; len(seen) < n; {
		ds, err := r.Receive(t.Context(), 4)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range ds {
			if err := d.Ack(); err != nil {
				t.Error(err)
			}
			seen[d.ID] = true
			order = append(order, d.ID)
		}
	}
	return order
}

// firsts keeps the first of each.
func firsts(ids []string) []string {
	var out []string
	for _, id := range ids {
		if !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out
}

func TestAnUnreliableBrokerKeepsWhatBrokersPromise(t *testing.T) {
	run := func(f Faults) (order []string, took time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			b, err := Unreliable(memory.NewServer(), f).Open(t.Context(), broker.OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			for i := range 50 {
				m := []broker.Message{{ID: fmt.Sprintf("m%02d", i), Topic: "t"}}
				for errs := b.Publish(t.Context(), m); errs != nil; errs = b.Publish(t.Context(), m) {
					if !errors.Is(errs[0], broker.ErrUnavailable) {
						t.Fatal(errs[0])
					}
				}
			}
			order = receive(t, b, 50)
			took = time.Since(begun)
		})
		return order, took
	}
	faults := Faults{Seed: 5, LoseRequests: 0.3, LoseReplies: 0.3, LoseAcks: 0.3, Repeat: 0.3, Copies: 2, Delay: time.Second}
	order, took := run(faults)
	if got := firsts(order); len(got) != 50 || !slices.IsSorted(got) {
		t.Errorf("first deliveries came as %v", got)
	}
	if len(order) < 120 || slices.IsSorted(order) {
		t.Errorf("%d deliveries of 50 messages, copied twice, in order: %t", len(order), slices.IsSorted(order))
	}
	if took < 10*time.Second {
		t.Errorf("50 publications of up to a second took %v", took)
	}
	if again, _ := run(faults); !slices.Equal(again, order) {
		t.Error("the same seed gave another run")
	}
	faults.Seed++
	if other, _ := run(faults); slices.Equal(other, order) {
		t.Error("another seed gave the same run")
	}
}
