package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"

	"github.com/argosy-go/argosy/store"
)

const (
	// notifyGap is the least time between two NOTIFYs of a replica: what comes
	// in between goes together.
	notifyGap = 5 * time.Millisecond
	// maxTopics is how many topics wait to be sent; more become "", which is all.
	maxTopics = 256
	// maxTopic is how long a topic may be, in bytes; Postgres takes 7999.
	maxTopic = 1024
	// maxRedial is the longest pause before the next try to connect.
	maxRedial = 5 * time.Second
)

// notifier is the connection over which the replicas of a service wake each
// other. It listens, and it notifies, in transactions of their own: a NOTIFY
// takes a lock of the whole server until the end of its commit, and in the
// transactions of the service it would have one disk flush wait for the other.
// So its own commits do not wait for the disk: nothing of them is kept there.
//
// One goroutine has the connection, and makes it again when it is lost.
type notifier struct {
	config  *pgx.ConnConfig
	channel string
	log     *slog.Logger

	start sync.Once
	stop  context.CancelFunc
	done  chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex
	ring    func(topic string)
	pending map[string]bool // topics to be sent
	nudge   func()          // ends the wait for a notification, when there is one
}

// newNotifier returns a notifier that connects with config, once it has
// something to do.
func newNotifier(config *pgx.ConnConfig, schema string, log *slog.Logger) *notifier {
	config = config.Copy()
	config.RuntimeParams["application_name"] += " (notify)"
	config.RuntimeParams["synchronous_commit"] = "off"
	config.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.DeadlineContextWatcherHandler{Conn: conn.Conn()} // a wait that is ended harms nothing
	}
	return &notifier{config: config, channel: "argosy_" + schema, log: log, pending: map[string]bool{}}
}

var _ store.Notifier = (*engine)(nil)

// Notify wakes those who subscribed at other replicas.
func (e *engine) Notify(topic string) {
	if e.enter() != nil {
		return
	}
	defer e.running.Done()
	e.notifier.notify(topic)
}

// Subscribe makes f hear of what other replicas notify, and of "" whenever a
// connection has been made.
func (e *engine) Subscribe(f func(topic string)) {
	if e.enter() != nil {
		return
	}
	defer e.running.Done()
	e.notifier.mu.Lock()
	e.notifier.ring = f
	e.notifier.mu.Unlock()
	e.notifier.begin()
}

// begin starts the goroutine, the first time.
func (n *notifier) begin() {
	n.start.Do(func() {
		ctx, stop := context.WithCancel(context.Background())
		n.stop, n.done = stop, make(chan struct{})
		go func() {
			defer close(n.done)
			n.run(ctx)
		}()
	})
}

// close ends the goroutine, or keeps it from being started. Nobody calls
// begin or notify at the same time or after.
func (n *notifier) close() {
	n.start.Do(func() {})
	if n.stop != nil {
		n.stop()
		<-n.done
	}
}

func (n *notifier) notify(topic string) {
	n.begin()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.add(topic)
	if n.nudge != nil {
		n.nudge()
	}
}

// add notes a topic to be sent. Whoever calls it holds mu.
func (n *notifier) add(topic string) {
	if len(topic) > maxTopic || len(n.pending) >= maxTopics && !n.pending[topic] {
		topic = ""
	}
	if topic == "" {
		clear(n.pending)
	}
	if !n.pending[""] {
		n.pending[topic] = true
	}
}

// run connects, again and again, and serves the connection.
func (n *notifier) run(ctx context.Context) {
	for failures := 0; ; {
		conn, err := n.connect(ctx)
		if err == nil {
			failures = 0
			n.hear("") // it may have missed something
			err = n.serve(ctx, conn)
			n.hangUp(conn)
		}
		if ctx.Err() != nil {
			return
		}
		if failures++; failures == 1 {
			n.log.WarnContext(ctx, "the connection on which the store's replicas wake each other is lost: they poll until it is back", "error", err)
		}
		timer := time.NewTimer(rand.N(min(100*time.Millisecond<<min(failures, 10), maxRedial)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// connect returns a connection that listens.
func (n *notifier) connect(ctx context.Context) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, ownTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, n.config)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{n.channel}.Sanitize()); err != nil {
		n.hangUp(conn)
		return nil, fmt.Errorf("listen: %w", err)
	}
	return conn, nil
}

// hangUp closes a connection; the server does so when it cannot be told.
func (n *notifier) hangUp(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}

// serve sends and hears until the connection is lost or ctx ends.
func (n *notifier) serve(ctx context.Context, conn *pgx.Conn) error {
	self := conn.PgConn().PID()
	var sent time.Time
	for {
		wait, cancel := context.WithCancel(ctx)
		topics, hold := n.next(time.Since(sent), cancel)
		if len(topics) > 0 {
			cancel()
			if err := n.send(ctx, conn, topics); err != nil {
				return err
			}
			sent = time.Now()
			continue
		}
		if hold > 0 {
			cancel()
			wait, cancel = context.WithTimeout(ctx, hold)
		}
		got, err := conn.WaitForNotification(wait)
		ended := wait.Err() != nil
		cancel()
		switch {
		case err == nil && got.PID != self: // this process has been woken already
			n.hear(got.Payload)
		case err != nil && (ctx.Err() != nil || conn.IsClosed() || !ended):
			return fmt.Errorf("wait for a notification: %w", err)
		}
	}
}

// next returns the topics to send, when the last ones have been sent long
// enough ago, or how long to wait for that. When there are none, nudge is
// called as soon as there are.
func (n *notifier) next(since time.Duration, nudge func()) (topics []string, hold time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nudge = nil
	if len(n.pending) == 0 {
		n.nudge = nudge
		return nil, 0
	}
	if since < notifyGap {
		return nil, notifyGap - since
	}
	topics = slices.Collect(maps.Keys(n.pending))
	clear(n.pending)
	return topics, 0
}

// send tells the other replicas. What could not be sent is sent later.
func (n *notifier) send(ctx context.Context, conn *pgx.Conn, topics []string) error {
	limited, cancel := context.WithTimeout(ctx, ownTimeout)
	defer cancel()
	_, err := conn.Exec(limited, "SELECT pg_notify($1, topic) FROM unnest($2::text[]) AS topics (topic)", n.channel, topics)
	if err == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, topic := range topics {
		n.add(topic)
	}
	return errors.Join(fmt.Errorf("notify: %w", err), ctx.Err())
}

// hear passes a topic on to the subscriber.
func (n *notifier) hear(topic string) {
	n.mu.Lock()
	ring := n.ring
	n.mu.Unlock()
	if ring != nil {
		ring(topic)
	}
}
