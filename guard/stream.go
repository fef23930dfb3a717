package guard

import (
	"context"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
)

// Pass is the leave of one stream to be under way. Safe for concurrent use.
type Pass struct {
	g        *Guard
	p        passage
	answered atomic.Bool // set under mu; read alone, a message need not take it
	ended    atomic.Bool

	mu    sync.Mutex
	found bool  // the breaker has been told
	at    int64 // the slot of the breaker's window where the answer counts
}

// Open opens a stream under the policies: it is opened again while that is
// safe, as a call is. A stream that is open holds its place in the bulkhead
// until End, and is not repeated: its messages cannot be taken back. Neither
// the limit of an attempt's time nor hedging is for streams.
//
// What becomes of an open stream is told to its Pass. When open fails its Pass
// has ended.
func (g *Guard) Open(ctx context.Context, open func(ctx context.Context, p *Pass) error) error {
	g.t.budget.earn()
	try := func(ctx context.Context) error { return g.open(ctx, open) }
	if err := try(ctx); err != nil {
		return g.again(ctx, try, err)
	}
	return nil
}

func (g *Guard) open(ctx context.Context, open func(ctx context.Context, p *Pass) error) error {
	p, err := g.admit()
	if err != nil {
		return err
	}
	pass := &Pass{g: g, p: p}
	opened := false
	defer func() {
		if !opened {
			pass.End(ctx, context.Canceled) // a panic: nothing is known
		}
	}()
	err = open(ctx, pass)
	if opened = true; err != nil {
		pass.End(ctx, err)
	}
	return err
}

// Answered says that the other side has answered, which counts as a success at
// the breaker and the limit, since a stream may stay open for days. It is taken back when the
// stream breaks while it still counts: see End.
func (s *Pass) Answered() {
	if s.answered.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answered.Store(true)
	if !s.found {
		s.found = true
		s.at = s.g.breaker.done(s.p.generation, healthy, nil)
		s.g.limit.done(s.p.round, s.p.under, true, false)
	}
}

// End says how the stream ended, nil for well, under the context of its call.
// Further calls do nothing. A stream that breaks after its first message is a
// failure in place of the success that it was, as long as that is in the
// breaker's window; of one that had been open for longer, what it is opened
// again with tells more. Its deadline, and its server's drain, break nothing.
func (s *Pass) End(ctx context.Context, err error) {
	if !s.ended.CompareAndSwap(false, true) {
		return
	}
	o := judge(ctx, err)
	s.mu.Lock()
	switch {
	case !s.found:
		s.found = true
		s.g.breaker.done(s.p.generation, o, err)
	case o == failing && fault.CodeOf(err) != codes.DeadlineExceeded:
		s.g.breaker.takeBack(s.p.generation, s.at, err)
	}
	s.mu.Unlock()
	// The limit has grown when the stream answered, since it may stay open for
	// days, and does not for its end.
	s.g.limit.done(s.p.round, s.p.under, o == healthy && !s.answered.Load(), overloaded(o, err))
	s.g.bulkhead.leave()
}
