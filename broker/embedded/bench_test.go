package embedded_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/broker/embedded"
)

// payload is what an ordinary event has in its body.
var payload = make([]byte, 300)

// batchOf returns n messages over 64 partitions, with ids that were never used.
func batchOf(n int, ids *atomic.Int64) []broker.Message {
	ms := make([]broker.Message, n)
	for i := range ms {
		id := ids.Add(1)
		ms[i] = broker.Message{
			ID: fmt.Sprintf("01920000-0000-7000-8000-%012d", id), Topic: "bench.order.v1.Placed", Partition: int(id % 64), Body: payload,
			Header: map[string]string{"ce-id": "x", "ce-source": "/order", "ce-type": "bench.order.v1.Placed", "ce-time": "2026-01-01T00:00:00Z"},
		}
	}
	return ms
}

func BenchmarkPublish(b *testing.B) {
	for _, n := range []int{1, 64, 1000} {
		b.Run(fmt.Sprintf("%d a call", n), func(b *testing.B) {
			br, ids := open(b, embedded.Opener{}, b.TempDir()), new(atomic.Int64)
			for b.Loop() {
				if errs := br.Publish(b.Context(), batchOf(n, ids)); errs != nil {
					b.Fatal(errs)
				}
			}
			b.ReportMetric(float64(ids.Load())/b.Elapsed().Seconds(), "messages/s")
		})
	}
	for _, n := range []int{1, 16} {
		b.Run(fmt.Sprintf("64 callers, %d a call", n), func(b *testing.B) {
			br, ids := open(b, embedded.Opener{}, b.TempDir()), new(atomic.Int64)
			b.SetParallelism(32) // of two processors
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if errs := br.Publish(b.Context(), batchOf(n, ids)); errs != nil {
						b.Error(errs)
						return
					}
				}
			})
			b.ReportMetric(float64(ids.Load())/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

// BenchmarkPublishAgain publishes 1,000 messages of which some are known: the
// server refuses such a batch.
func BenchmarkPublishAgain(b *testing.B) {
	for _, known := range []int{1, 500, 1000} {
		b.Run(fmt.Sprintf("%d of 1000 known", known), func(b *testing.B) {
			br, ids := open(b, embedded.Opener{}, b.TempDir()), new(atomic.Int64)
			for b.Loop() {
				b.StopTimer()
				ms := batchOf(1000, ids)
				if errs := br.Publish(b.Context(), ms[:known]); errs != nil {
					b.Fatal(errs)
				}
				b.StartTimer()
				if errs := br.Publish(b.Context(), ms); errs != nil {
					b.Fatal(errs)
				}
			}
		})
	}
}

// BenchmarkLatency measures the way of one message from Publish to Receive, on
// a broker with nothing else to do.
func BenchmarkLatency(b *testing.B) {
	br, ids := open(b, embedded.Opener{}, b.TempDir()), new(atomic.Int64)
	all := make([]int, 64)
	for i := range all {
		all[i] = i
	}
	r, err := br.Subscribe(b.Context(), broker.Subscription{Consumer: "bench", Topic: "bench.order.v1.Placed", Partitions: all})
	if err != nil {
		b.Fatal(err)
	}
	var took []time.Duration
	for b.Loop() {
		begun := time.Now()
		if errs := br.Publish(b.Context(), batchOf(1, ids)); errs != nil {
			b.Fatal(errs)
		}
		ds, err := r.Receive(b.Context(), 1)
		if err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begun))
		if err := ds[0].Ack(); err != nil {
			b.Fatal(err)
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkReceive measures how fast one receiver reads what is stored.
func BenchmarkReceive(b *testing.B) {
	br, ids := open(b, embedded.Opener{}, b.TempDir()), new(atomic.Int64)
	all := make([]int, 64)
	for i := range all {
		all[i] = i
	}
	for stored := 0; stored < b.N; stored += 1000 {
		if errs := br.Publish(b.Context(), batchOf(1000, ids)); errs != nil {
			b.Fatal(errs)
		}
	}
	r, err := br.Subscribe(b.Context(), broker.Subscription{Consumer: "bench", Topic: "bench.order.v1.Placed", Partitions: all})
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	calls := 0
	for n := 0; n < b.N; calls++ {
		ds, err := r.Receive(b.Context(), 256)
		if err != nil {
			b.Fatal(err)
		}
		for _, d := range ds {
			if err := d.Ack(); err != nil {
				b.Fatal(err)
			}
		}
		n += len(ds)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
	b.ReportMetric(float64(b.N)/float64(calls), "messages/receive")
}

// BenchmarkOpen measures the start on a fresh directory, to the first stored message.
func BenchmarkOpen(b *testing.B) {
	ids := new(atomic.Int64)
	for b.Loop() {
		br, err := embedded.Opener{}.Open(b.Context(), broker.OpenOptions{Dir: b.TempDir()})
		if err != nil {
			b.Fatal(err)
		}
		if errs := br.Publish(b.Context(), batchOf(1, ids)); errs != nil {
			b.Fatal(errs)
		}
		b.StopTimer()
		if err := br.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
