package guard

import (
	"context"
	"sync/atomic"
)

// Pass is the leave of one stream to be under way. Safe for concurrent use.
type Pass struct {
	g      *Guard
	p      passage
	judged atomic.Bool
	ended  atomic.Bool
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

// Answered says that the other side has answered: what the breaker waits for,
// since a stream may stay open for days. Only the first of Answered and End
// counts there.
func (s *Pass) Answered() {
	if !s.judged.Load() && s.judged.CompareAndSwap(false, true) {
		s.g.breaker.done(s.p.generation, healthy, nil)
	}
}

// End says how the stream ended, nil for well, under the context of its call.
// Further calls do nothing.
func (s *Pass) End(ctx context.Context, err error) {
	if !s.ended.CompareAndSwap(false, true) {
		return
	}
	o := judge(ctx, err)
	if s.judged.CompareAndSwap(false, true) {
		s.g.breaker.done(s.p.generation, o, err)
	}
	// How long a stream lasts is no latency, so ending well does not raise the
	// limit unless it had been cut.
	s.g.limit.done(s.p.round, s.p.under, o == healthy, overloaded(o, err))
	s.g.bulkhead.leave()
}
