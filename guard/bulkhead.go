package guard

import (
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
)

// reasonFull is the reason of a refusal by the bulkhead.
const reasonFull = "BULKHEAD_FULL"

var errFull = fault.New(codes.Unavailable, reasonFull, "too many calls of this method are under way").WithRetryAfter(100 * time.Millisecond).Refused()

// bulkhead bounds the attempts of a method that are under way, so that one
// that hangs does not take the memory and the goroutines of the others
// (Nygard, Release It!). Nothing queues for a place: whoever waits here could
// not be told from whoever waits there.
type bulkhead struct {
	most    int64
	under   atomic.Int64
	refused atomic.Uint64
}

// enter returns how many are under way with this one, or the refusal.
func (b *bulkhead) enter() (int64, error) {
	n := b.under.Add(1)
	if n > b.most {
		b.under.Add(-1)
		b.refused.Add(1)
		return 0, errFull
	}
	return n, nil
}

func (b *bulkhead) leave() { b.under.Add(-1) }
