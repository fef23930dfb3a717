package event

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/store"
)

// listenGap is how often a session looks for what operators asked for, when
// nobody wakes it.
const listenGap = 10 * time.Second

// errRewind ends a session whose position is to be taken back.
var errRewind = errors.New("the consumer goes back to an earlier position")

// inboxTopic is notified when an operator asks something of a consumer.
func inboxTopic(durable string) string { return "argosy/inbox/" + durable }

// listen takes up what operators ask for, until the session ends.
func (s *session) listen() {
	bell := make(chan struct{}, 1)
	defer s.db.Listen(inboxTopic(s.durable), func() { stir(bell) })()
	for s.ctx.Err() == nil {
		if err := s.heads("seq < 0", s.sooner); err != nil && s.ctx.Err() == nil {
			s.cancel(err)
		}
		if _, asked, err := s.asked(s.ctx); err != nil && s.ctx.Err() == nil {
			s.cancel(err)
		} else if asked {
			s.cancel(errRewind)
		}
		nap(s.ctx, bell, listenGap/2+rand.N(listenGap))
	}
}

// asked reports whether an operator asked for the consumer to go back, and to when.
func (f *fetcher) asked(ctx context.Context) (from time.Time, asked bool, err error) {
	var at store.Time
	err = f.db.Read(ctx, func(ctx context.Context, q store.Querier) error {
		return q.QueryRowContext(ctx, "SELECT MIN(start_at) FROM argosy_event_rewinds WHERE consumer = $1 AND part BETWEEN $2 AND $3",
			f.durable, f.span.first, f.span.last).Scan(&at)
	})
	if err != nil {
		return time.Time{}, false, fmt.Errorf("look for positions to go back to: %w", err)
	}
	return at.Time, !at.IsZero(), nil
}

// rewind takes the position back when an operator asked for it. Nobody has the
// subscription open meanwhile: the caller holds the lease. A crash before the
// end has it done again, which changes nothing.
func (f *fetcher) rewind(ctx context.Context, h *hold) error {
	from, asked, err := f.asked(ctx)
	if err != nil || !asked {
		return err
	}
	if err := f.declare(ctx); err != nil {
		return err
	}
	if b, ok := f.setup.Broker().(broker.Rewinder); !ok {
		f.setup.Log().Error("a consumer does not go back: its broker cannot", "consumer", f.durable)
	} else if err := b.Rewind(ctx, f.subscription(), from); err != nil {
		return fmt.Errorf("rewind %s: %w", f.durable, err)
	} else {
		f.setup.Log().Info("a consumer goes back to an earlier position", "consumer", f.durable, "partition", f.span.first, "from", from)
	}
	err = f.db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		if err := h.check(ctx, tx); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM argosy_event_rewinds WHERE consumer = $1 AND part BETWEEN $2 AND $3 AND start_at >= $4",
			f.durable, f.span.first, f.span.last, store.At(from))
		return err
	})
	if err != nil {
		return fmt.Errorf("rewind %s: %w", f.durable, err)
	}
	return nil
}
