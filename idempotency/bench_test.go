package idempotency_test

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/idempotency"
	"github.com/argosy-go/argosy/rpc"
	"github.com/argosy-go/argosy/store"
)

// BenchmarkDo compares a call without a key, with a new key and with a known
// one, from 64 callers.
func BenchmarkDo(b *testing.B) {
	var n atomic.Int64
	for store, home := range kinds() {
		for name, key := range map[string]func() string{
			"without a key":   func() string { return "" },
			"with a new key":  func() string { return "k" + strconv.FormatInt(n.Add(1), 10) },
			"with known keys": func() string { return "known" + strconv.FormatInt(n.Add(1)%1000, 10) },
		} {
			b.Run(store+"/"+name, func(b *testing.B) {
				db := home(b).open(b)
				for range 1000 {
					call(b, db, key())
				}
				b.ReportAllocs()
				b.SetParallelism(32)
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						call(b, db, key())
					}
				})
			})
		}
	}
}

func call(b *testing.B, db *store.DB, key string) {
	ctx := auth.With(rpc.WithIncoming(context.Background(), "/test.Orders/Place", key), auth.Principal{Subject: "alice"})
	if _, err := idempotency.Do(ctx, db, wrapperspb.String("a request"), place); err != nil {
		b.Error(err)
	}
}
