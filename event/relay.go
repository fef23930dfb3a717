package event

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/internal/mutant"
	"github.com/argosy-go/argosy/store"
)

const (
	relayBatch    = 512                     // events handed to the broker at once
	relayBytes    = 4 << 20                 // size of the bodies of a batch, unless one alone is larger
	relayPoll     = time.Second             // how often the relay looks without being woken
	relayFlush    = 5 * time.Second         // how long it goes on when the service drains
	relayPatience = 20 * time.Second        // how long one call to the broker may take
	surveyGap     = 15 * time.Second        // how often the outbox is counted
	relayLeast    = 20 * time.Millisecond   // first delay after a failure
	relayMost     = 5000 * time.Millisecond // longest delay after failures
)

// relayGroup is the name of the work of the relays.
const relayGroup = "event/relay"

// relay hands committed events to the broker, in order, until ctx ends; then
// it hands over what is left, for a while. One relay a partition works at a
// time. The roster lasts as long: it is left when nothing is left to do.
func (r *runtime) relay(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.roster.run(ctx) })
	for _, s := range r.spans() {
		g.Go(func() error {
			return r.roster.work(ctx, relayGroup, s, func(ctx context.Context, h *hold) error {
				return r.relaySpan(ctx, s, h)
			})
		})
	}
	err := g.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchMost)
	defer cancel()
	return errors.Join(err, r.roster.leave(ctx))
}

// relaySpan is the relay of some partitions, under a lease.
func (r *runtime) relaySpan(ctx context.Context, s span, h *hold) error {
	w := &relayWorker{runtime: r, span: s, hold: h, lanes: map[lane]*jam{}, wake: make(chan struct{}, 1)}
	for p := s.first; p <= s.last; p++ {
		defer r.db.Listen(outboxTopic(p), func() { stir(w.wake) })()
	}
	return w.run(ctx)
}

// outboxTopic is notified when there is something to publish in a partition.
func outboxTopic(partition int) string { return fmt.Sprintf("argosy/outbox/%d", partition) }

// lane is what the broker keeps in order.
type lane struct {
	topic     string
	partition int
}

// jam is a lane whose head the broker refused.
type jam struct {
	failures int
	until    time.Time
}

// relayWorker is the relay while it holds the lease.
type relayWorker struct {
	*runtime
	span     span
	hold     *hold
	lanes    map[lane]*jam
	wake     chan struct{} // holds a token while there may be unsent events
	failures int           // of the whole broker, in a row
}

// run works until ctx ends or the lease is lost.
func (w *relayWorker) run(ctx context.Context) error {
	for ctx.Err() == nil {
		err := w.pass(ctx)
		switch {
		case lost(err):
			return err
		case err != nil && ctx.Err() == nil:
			w.failures++
			if w.failures == 1 {
				w.setup.Log().Warn("events cannot be published and wait", "error", err)
			}
			pause(ctx, backoff{relayLeast, relayMost}.after(w.failures))
		default:
			if w.failures > 0 {
				w.setup.Log().Info("events are published again", "failures", w.failures)
			}
			w.failures = 0
			w.rest(ctx)
		}
	}
	return w.flush(context.WithoutCancel(ctx))
}

// rest waits until there may be something to do. Without being woken it looks
// again after about relayPoll, each replica at another time.
func (w *relayWorker) rest(ctx context.Context) {
	d := relayPoll/2 + rand.N(relayPoll)
	for _, j := range w.lanes {
		d = min(d, max(0, j.until.Sub(w.setup.Now())))
	}
	nap(ctx, w.wake, d)
}

// flush hands over what is left when the service drains.
func (w *relayWorker) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, relayFlush)
	defer cancel()
	err := w.pass(ctx)
	if err != nil && !lost(err) {
		w.setup.Log().Warn("events stay in the outbox until the next start", "error", err)
		return nil
	}
	return err
}

// pass publishes until nothing is left that can be published. The rows of a
// batch are deleted while the next batch is on its way.
func (w *relayWorker) pass(ctx context.Context) error {
	if err := w.declare(ctx); err != nil {
		return err
	}
	var acked []outgoing
	for {
		rows, more, err := w.unsent(ctx, acked)
		if err != nil {
			return err
		}
		if len(rows) == 0 && len(acked) == 0 {
			w.metrics.depth.Set(float64(w.depth.Load()))
			return nil
		}
		if mutant.SentBeforeAck {
			if err := w.forget(ctx, append(acked, rows...)); err != nil {
				return err
			}
			if _, err := w.publish(ctx, rows); err != nil {
				return err
			}
			acked = nil
			continue
		}
		done := acked
		var g errgroup.Group
		g.Go(func() error { return w.forget(ctx, done) })
		acked, err = w.publish(ctx, rows)
		if err := errors.Join(g.Wait(), err); err != nil {
			return errors.Join(w.forget(ctx, acked), err)
		}
		if !more && len(acked) == len(rows) { // what comes from now on wakes the relay
			err := w.forget(ctx, acked)
			w.metrics.depth.Set(float64(w.depth.Load()))
			return err
		}
	}
}

// unsent reads the next events in order, past those that were acknowledged and
// not yet deleted, and past lanes that are jammed. It reports whether there may
// be more of them than it returns.
func (w *relayWorker) unsent(ctx context.Context, acked []outgoing) (out []outgoing, more bool, err error) {
	query, args := w.unsentQuery(len(acked))
	skip := make(map[int64]bool, len(acked))
	for _, o := range acked {
		skip[o.seq] = true
	}
	size := 0
	err = w.db.Read(ctx, func(ctx context.Context, q store.Querier) error {
		rows, err := q.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			o, err := scanOutgoing(rows)
			if err != nil {
				return err
			}
			if skip[o.seq] {
				continue
			}
			if size += len(o.body); size > relayBytes && len(out) > 0 {
				more = true
				return nil // the rest comes with the next batch
			}
			out = append(out, o)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, false, fmt.Errorf("read the outbox: %w", err)
	}
	return out, more || len(out) >= relayBatch, nil
}

func (w *relayWorker) unsentQuery(more int) (string, []any) {
	args := []any{relayBatch + more}
	var b strings.Builder
	b.WriteString("SELECT seq, id, topic, part, event_key, event_type, at, expires, trace, body FROM argosy_outbox WHERE 1 = 1")
	if !w.alone() {
		b.WriteString(" AND part = $2")
		args = append(args, w.span.first)
	}
	now := w.setup.Now()
	for l, j := range w.lanes {
		if !j.until.After(now) {
			continue
		}
		fmt.Fprintf(&b, " AND NOT (topic = $%d AND part = $%d)", len(args)+1, len(args)+2)
		args = append(args, l.topic, l.partition)
	}
	b.WriteString(" ORDER BY seq LIMIT $1")
	return b.String(), args
}

func scanOutgoing(rows *sql.Rows) (outgoing, error) {
	var o outgoing
	var at, expires store.Time
	err := rows.Scan(&o.seq, &o.id, &o.topic, &o.partition, &o.key, &o.kind, &at, &expires, &o.trace, &o.body)
	o.at, o.expires = at.Time, expires.Time
	return o, err
}

// publish hands rows to the broker and returns those that it has now. Its
// error means that the broker is away.
func (w *relayWorker) publish(ctx context.Context, rows []outgoing) ([]outgoing, error) {
	if len(rows) == 0 {
		return nil, nil
	}
	source := "/" + w.setup.Name()
	messages := make([]broker.Message, len(rows))
	for i, o := range rows {
		messages[i] = o.message(source)
	}
	ctx, cancel := context.WithTimeout(ctx, relayPatience)
	defer cancel()
	errs := w.setup.Broker().Publish(ctx, messages)
	acked := make([]outgoing, 0, len(rows))
	stuck := map[lane]bool{}
	var away error
	for i, o := range rows {
		l := lane{o.topic, o.partition}
		if errs == nil || errs[i] == nil {
			w.metrics.published.WithLabelValues(o.topic).Inc()
			acked = append(acked, o)
			continue
		}
		w.metrics.failures.Inc()
		if stuck[l] {
			continue // it waits for the first of its lane that failed
		}
		stuck[l] = true
		switch err := errs[i]; {
		case fault.CodeOf(err) == codes.InvalidArgument: // too large, or not to be written down: it will never be taken
			if err := w.reject(ctx, o, err); err != nil {
				return acked, err
			}
		case errors.Is(err, broker.ErrUnavailable), errors.Is(err, broker.ErrClosed), ctx.Err() != nil:
			away = err
		default:
			w.block(l, err)
		}
	}
	for _, o := range acked {
		if l := (lane{o.topic, o.partition}); !stuck[l] {
			delete(w.lanes, l)
		}
	}
	return acked, away
}

// block keeps a lane from being tried for a while.
func (w *relayWorker) block(l lane, err error) {
	now := w.setup.Now()
	j := w.lanes[l]
	if j == nil {
		j = &jam{}
		w.lanes[l] = j
		w.setup.Log().Warn("the broker refuses an event: its partition waits", "topic", l.topic, "partition", l.partition, "error", err)
	}
	j.failures++
	j.until = now.Add(backoff{relayLeast, relayMost}.after(j.failures))
}

// reject moves an event that the broker will never take to the dead letters,
// so that its lane goes on. The consumer of such a letter is "".
func (w *relayWorker) reject(ctx context.Context, o outgoing, cause error) error {
	w.setup.Log().Error("an event is one that the broker will never take and became a dead letter", "event", o.id, "type", o.kind, "error", cause)
	m := o.message("/" + w.setup.Name())
	return w.db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		if err := w.hold.check(ctx, tx); err != nil {
			return err
		}
		if err := bury(ctx, tx, letter{message: m, kind: o.kind, key: o.key, cause: cause, at: w.setup.Now()}); err != nil {
			return err
		}
		return w.delete(ctx, tx, []outgoing{o})
	})
}

// forget deletes rows that the broker has; also when the service drains, or
// they would be published again.
func (w *relayWorker) forget(ctx context.Context, rows []outgoing) error {
	if len(rows) == 0 {
		return nil
	}
	err := w.db.Do(store.RowByRow(context.WithoutCancel(ctx)), func(ctx context.Context, tx *store.Tx) error {
		if err := w.hold.check(ctx, tx); err != nil {
			return err
		}
		return w.delete(ctx, tx, rows)
	})
	if err != nil {
		return fmt.Errorf("mark events as sent: %w", err)
	}
	return nil
}

// delete deletes rows.
func (w *relayWorker) delete(ctx context.Context, tx *store.Tx, rows []outgoing) error {
	var gone int64
	for len(rows) > 0 {
		n := rowsAtOnce(len(rows))
		args := make([]any, n)
		for i, o := range rows[:n] {
			args[i] = o.seq
		}
		rows = rows[n:]
		result, err := tx.ExecContext(ctx, "DELETE FROM argosy_outbox WHERE seq IN ("+placeholders(1, n)+")", args...)
		if err != nil {
			return err
		}
		k, err := result.RowsAffected()
		if err != nil {
			return err
		}
		gone += k
	}
	tx.AfterCommit(func() { w.depth.Add(-gone) })
	return nil
}

// placeholders returns n placeholders, the first of which has that number.
func placeholders(first, n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "$%d", first+i)
	}
	return b.String()
}

// watch counts the outbox now and then, until ctx ends: what other replicas
// published and relayed is known only so.
func (r *runtime) watch(ctx context.Context) error {
	for pause(ctx, surveyGap/2+rand.N(surveyGap)) {
		if err := r.survey(ctx); err != nil {
			return unlessDone(ctx, err)
		}
	}
	return nil
}

// survey counts the outbox.
func (r *runtime) survey(ctx context.Context) error {
	var n int64
	var oldest store.Time
	err := r.db.Read(ctx, func(ctx context.Context, q store.Querier) error {
		return q.QueryRowContext(ctx, "SELECT COUNT(*), MIN(at) FROM argosy_outbox").Scan(&n, &oldest)
	})
	if err != nil {
		return fmt.Errorf("count the outbox: %w", err)
	}
	r.depth.Store(n)
	r.metrics.depth.Set(float64(n))
	r.metrics.oldest.Set(r.age(oldest.Time))
	return nil
}
