package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/argosy-go/argosy/store"
)

// Bounds of what is run again after a conflict.
const (
	maxAttempts = 40
	// crowded is the attempt from which those who run again take turns: two
	// that were unlucky together must not be each other's next conflict.
	crowded  = 3
	minPause = 2 * time.Millisecond
	maxPause = 50 * time.Millisecond
)

// beginRead opens a snapshot.
const beginRead = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

// beginRowByRow begins what [store.RowByRow] asks for.
const beginRowByRow = "BEGIN ISOLATION LEVEL READ COMMITTED"

// engine is the open schema of one service.
type engine struct {
	schema         string
	pool           *pgxpool.Pool
	connect        driver.Connector // from pool
	facades        *sql.DB
	begin          string
	acquireTimeout time.Duration
	background     chan struct{} // held by the background work that asks for a connection
	turn           chan struct{} // held by the one who runs again in a crowd
	log            *slog.Logger
	notifier       *notifier

	mu      sync.Mutex
	closing bool
	running sync.WaitGroup
}

func (e *engine) Dialect() store.Dialect { return store.Postgres }

// enter counts a call in, unless the store is closing.
func (e *engine) enter() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closing {
		return store.ErrClosed
	}
	e.running.Add(1)
	return nil
}

// Close waits for what runs and closes the connections. Closing again does nothing.
func (e *engine) Close() error {
	e.mu.Lock()
	first := !e.closing
	e.closing = true
	e.mu.Unlock()
	e.running.Wait()
	if !first {
		return nil
	}
	e.notifier.close()
	e.pool.Close()
	return e.facades.Close()
}

// Write runs fn, again after a conflict, until it has committed or failed.
func (e *engine) Write(ctx context.Context, fn func(store.Conn) error) error {
	if err := e.enter(); err != nil {
		return err
	}
	defer e.running.Done()
	inTurn := false
	defer func() { // also when fn panicked
		if inTurn {
			<-e.turn
		}
	}()
	for attempt := 1; ; attempt++ {
		again, err := e.attempt(ctx, fn)
		if !again {
			return err
		}
		if attempt == maxAttempts {
			return err
		}
		if err := pause(ctx, attempt); err != nil {
			return err
		}
		if attempt >= crowded && !inTurn {
			select {
			case e.turn <- struct{}{}:
				inTurn = true
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// pause waits before the next attempt, longer each time and never as long as
// somebody else does.
func pause(ctx context.Context, attempt int) error {
	longest := min(minPause<<min(attempt, 10), maxPause)
	timer := time.NewTimer(time.Duration(rand.Int64N(int64(longest))))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// attempt runs fn in one transaction. It reports whether nothing was written
// for a reason that may be gone the next time.
func (e *engine) attempt(ctx context.Context, fn func(store.Conn) error) (again bool, err error) {
	begin := e.begin
	if store.IsRowByRow(ctx) {
		begin = beginRowByRow
	}
	s, err := e.open(ctx, begin)
	if err != nil {
		return false, err
	}
	defer s.release()
	ended := false
	defer func() { // fn panicked or exited
		if !ended {
			_, _ = s.end()
			s.rollback()
		}
	}()
	err = fn(s)
	ended = true
	poison, again := s.end()
	if again { // whatever fn made of it
		s.rollback()
		return true, poison
	}
	if err == nil {
		err = poison
	}
	if err != nil {
		s.rollback()
		return false, err
	}
	return s.commit()
}

// Read runs fn on a snapshot.
func (e *engine) Read(ctx context.Context, fn func(store.Querier) error) (err error) {
	if err := e.enter(); err != nil {
		return err
	}
	defer e.running.Done()
	s, err := e.open(ctx, beginRead)
	if err != nil {
		return err
	}
	defer func() { // also when fn panicked
		poison, _ := s.end()
		s.rollback()
		s.release()
		if err == nil {
			err = poison
		}
	}()
	return fn(s)
}

// open begins a transaction on a connection of the pool. A connection that
// turns out to be dead is thrown away with all the others that are idle, which
// have died of the same, and a new one is made.
func (e *engine) open(ctx context.Context, begin string) (*session, error) {
	for fresh := false; ; fresh = true {
		conn, err := e.take(ctx)
		if err != nil {
			return nil, err
		}
		s, err := newSession(e.facades, conn)
		if err == nil {
			err = s.own(begin)
		}
		if err == nil {
			return s, nil
		}
		dead := conn.Conn().IsClosed()
		_ = conn.Close() // back to the pool, which looks at it
		if !dead || fresh {
			return nil, errUnreachable.Wrap(fmt.Errorf("begin: %w", err))
		}
		e.pool.Reset()
	}
}

// take takes a connection from the pool. Background work asks for one at a time,
// so that it never keeps a caller waiting long, and until it has one.
func (e *engine) take(ctx context.Context) (*stdlib.Conn, error) {
	if !store.IsBackground(ctx) {
		return e.acquire(ctx)
	}
	select {
	case e.background <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-e.background }()
	for {
		conn, err := e.acquire(ctx)
		if !errors.Is(err, errPoolEmpty) {
			return conn, err
		}
	}
}

// acquire takes a connection from the pool, for a limited time.
func (e *engine) acquire(ctx context.Context) (*stdlib.Conn, error) {
	limited, cancel := context.WithTimeout(ctx, e.acquireTimeout)
	defer cancel()
	c, err := e.connect.Connect(limited)
	if err == nil {
		return c.(*stdlib.Conn), nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if stat := e.pool.Stat(); errors.Is(err, context.DeadlineExceeded) && stat.AcquiredConns() >= stat.MaxConns() {
		return nil, errPoolEmpty.WithMessage("all %d connections to the store have been in use for %v", stat.MaxConns(), e.acquireTimeout)
	}
	if errors.Is(err, errNotDurable) || errors.Is(err, errEncoding) {
		return nil, err
	}
	return nil, errUnreachable.Wrap(err)
}
