package e2e

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

// BenchmarkOrders measures orders a second end to end: placed over REST,
// fulfilled through bank and carrier as processes of their own, and watched
// until CONFIRMED. The load runs on the same machine.
func BenchmarkOrders(b *testing.B) {
	for _, customers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("customers=%d", customers), func(b *testing.B) {
			f := start(b, build(b, ""), b.TempDir())
			f.signIn("customer@shop.test")
			p := f.products()
			var next atomic.Int64
			b.ResetTimer()
			var all sync.WaitGroup
			for range customers {
				all.Go(func() {
					for {
						i := int(next.Add(1))
						if i > b.N {
							return
						}
						id := f.must("POST", "/v1/orders", fmt.Sprint("bench-", i), order("tok_ok", p[i%len(p)])).field("id")
						if s := f.awaitEnd(id); s != "CONFIRMED" {
							b.Errorf("order %s ended %s", id, s)
						}
					}
				})
			}
			all.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "orders/s")
		})
	}
}
