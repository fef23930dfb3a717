package guard

import (
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
)

// reasonLimit is the reason of a refusal by the adaptive limit.
const reasonLimit = "LIMIT_REACHED"

var errLimit = fault.New(codes.Unavailable, reasonLimit, "the other side is overloaded, and as many calls as it takes are under way").WithRetryAfter(100 * time.Millisecond).Refused()

// cut is what is left of a limit after a sign of overload.
const cut = 0.9

// limit follows what the other side takes: it is cut by a tenth when that
// refuses calls for overload, or lets their time run out, and grows by its
// square root in each round of calls that end well. This is the additive
// increase and multiplicative decrease of TCP (Chiu and Jain, 1989), as in the
// AIMDLimit of Netflix's concurrency-limits, except that the calls of one round
// cut once, as the losses of one round trip do. Latency is not judged here:
// who serves the calls knows best whether they queue (see [Shedder]) and says
// so by refusing.
//
// It begins at the bulkhead's bound, where it costs one atomic read a call.
type limit struct {
	least, most int64
	at          atomic.Int64
	round       atomic.Uint64 // cuts so far
	refused     atomic.Uint64

	mu     sync.Mutex // held while the limit moves
	credit int64      // calls that ended well since it grew
}

func newLimit(least, most int64) *limit {
	l := &limit{least: min(least, most), most: most}
	l.at.Store(most)
	return l
}

// allow returns the round of a call that makes it under under way.
func (l *limit) allow(under int64) (uint64, error) {
	if under > l.at.Load() {
		l.refused.Add(1)
		return 0, errLimit
	}
	return l.round.Load(), nil
}

// done tells how a call of a round ended, with under others beside it.
func (l *limit) done(round uint64, under int64, good, overloaded bool) {
	at := l.at.Load()
	if !overloaded && (!good || at == l.most || 2*under < at) { // unused, it says nothing
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	at = l.at.Load()
	if !overloaded {
		if l.credit++; l.credit*l.credit >= at {
			l.set(at + 1)
		}
		return
	}
	if round != l.round.Load() {
		return
	}
	l.round.Add(1)
	// A limit that is far from used is halved at most: one sign must not take
	// all of it (RFC 7661 does the like for TCP).
	l.set(int64(cut * float64(max(min(under, at), at/2))))
}

func (l *limit) set(n int64) {
	l.credit = 0
	n = min(max(n, l.least), l.most)
	l.at.Store(n)
}

// overloaded reports whether an error says that the other side has too much to do.
func overloaded(o outcome, err error) bool {
	if err == nil {
		return false
	}
	e := fault.From(err)
	return shed(e) || o == failing && e.Code == codes.DeadlineExceeded
}

// shed reports whether the other side refused the call since it has too much
// to do: it lives, and the limit follows it.
func shed(e *fault.Error) bool { return e.NotDone && e.Reason == fault.ReasonOverloaded }
