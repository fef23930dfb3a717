package saga

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/argosy-go/argosy/internal/pgtest"
	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/store"
)

// BenchmarkRuns measures whole runs of three steps that do nothing, from the
// start's commit to the end's, with so many in flight: four commits each.
func BenchmarkRuns(b *testing.B) {
	for _, kind := range []store.Dialect{store.SQLite, store.Postgres} {
		for _, flight := range []int{1, 16, 64, 256} {
			if kind == store.SQLite || pgtest.Available() {
				b.Run(fmt.Sprintf("%s/flight=%d", kind, flight), func(b *testing.B) { benchRuns(b, kind, flight) })
			}
		}
	}
}

func benchRuns(b *testing.B, kind store.Dialect, flight int) {
	nothing := func(context.Context, state) error { return nil }
	var s Saga[state]
	var ended sync.Map
	a := start(newStoreTest(b, kind), config{declare: func(set *service.Setup) {
		s = Define(set, "bench", Do("a", nothing).NoUndo(), Do("b", nothing).NoUndo(), Do("c", nothing).NoUndo(),
			End(func(_ context.Context, tx *store.Tx, st state, _ Outcome) error {
				id := st.Fields["id"].GetStringValue()
				tx.AfterCommit(func() {
					if ch, ok := ended.LoadAndDelete(id); ok {
						close(ch.(chan struct{}))
					}
				})
				return nil
			}))
	}})
	var n atomic.Int64
	var group sync.WaitGroup
	b.ResetTimer()
	for range flight {
		group.Go(func() {
			for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
				id := strconv.FormatInt(i, 10)
				done := make(chan struct{})
				ended.Store(id, done)
				st := &structpb.Struct{Fields: map[string]*structpb.Value{"id": structpb.NewStringValue(id)}}
				if err := a.do(func(_ context.Context, tx *store.Tx) error { s.Start(tx, id, st); return nil }); err != nil {
					b.Error(err)
					return
				}
				<-done
			}
		})
	}
	group.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "runs/s")
}
