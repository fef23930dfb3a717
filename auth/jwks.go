package auth

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
)

const (
	defaultRefresh  = 5 * time.Minute
	defaultInterval = 30 * time.Second
	defaultKeep     = 24 * time.Hour
	defaultTimeout  = 5 * time.Second

	// maxWaiting bounds the calls that wait for a fetch: a slow endpoint and
	// tokens with made-up key ids must not hold every place of the server.
	maxWaiting = 64
)

// ReasonKeysUnavailable: the keys that would verify the token cannot be had now.
const ReasonKeysUnavailable = "KEYS_UNAVAILABLE"

var (
	errNoKeys  = errors.New("the keys of the issuer cannot be had")
	errCrowded = errors.New("too many wait for the keys of the issuer")
)

// remoteKeys are the keys of an issuer that are kept elsewhere. There is no
// loop that fetches them: a call that finds them old starts a fetch, and uses
// them all the same unless they are older than twice the time of refresh.
//
//	age    refresh       2 × refresh                               keep
//	used   as they are | as they are, | after a fetch, or as they | not at all
//	                     one fetches    are if the last one failed
type remoteKeys struct {
	c      IssuerConfig
	fetch  fetcher
	state  atomic.Pointer[fetched] // nil: never yet
	failed atomic.Bool             // the last fetch

	base    context.Context // of every fetch
	stop    context.CancelFunc
	running sync.WaitGroup // a fetch
	waiting atomic.Int32   // calls

	mu     sync.Mutex
	flight chan struct{} // closed when the fetch that is under way has ended; nil: none is
	last   time.Time     // when the last fetch began
	closed bool
}

// fetched is what the last good fetch brought.
type fetched struct {
	keys *KeySet
	text []byte
	at   time.Time
	due  time.Time // when they are fetched again
}

func newRemoteKeys(c IssuerConfig) (*remoteKeys, error) {
	for d, v := range map[*time.Duration]time.Duration{
		&c.Refresh: defaultRefresh, &c.Interval: defaultInterval, &c.Keep: defaultKeep, &c.Timeout: defaultTimeout,
	} {
		if *d <= 0 {
			*d = v
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	r := &remoteKeys{c: c}
	var isFile bool
	var err error
	if r.fetch, isFile, err = newFetcher(c.JWKS, c.Transport); err != nil {
		return nil, err
	}
	r.base, r.stop = context.WithCancel(context.Background())
	if isFile {
		return r, r.refresh(r.base)
	}
	return r, nil
}

// current implements keySource.
func (r *remoteKeys) current(ctx context.Context, now time.Time) (*KeySet, error) {
	s := r.state.Load()
	if s != nil && now.Before(s.due) {
		return s.keys, nil
	}
	flight := r.start(now)
	usable := s != nil && !now.After(s.at.Add(r.c.Keep))
	if usable && (r.failed.Load() || !now.After(s.at.Add(2*r.c.Refresh))) { // an endpoint that is down holds nobody up
		return s.keys, nil
	}
	err := r.wait(ctx, flight)
	if s = r.state.Load(); s != nil && !now.After(s.at.Add(r.c.Keep)) {
		return s.keys, nil
	}
	return nil, unavailable(cmp.Or(err, errNoKeys))
}

// find implements keySource. A key that is not known may be new: one fetch
// tells, and until the interval has passed what is not known stays so.
func (r *remoteKeys) find(ctx context.Context, kid string, now time.Time) (publicKey, *KeySet, error) {
	keys, err := r.current(ctx, now)
	if err != nil {
		return publicKey{}, nil, err
	}
	key, ok := keys.keys[kid]
	if !ok {
		if err := r.wait(ctx, r.start(now)); err != nil {
			return publicKey{}, nil, unavailable(err)
		}
		keys = r.state.Load().keys
		if key, ok = keys.keys[kid]; !ok {
			return publicKey{}, nil, errUnknownKey
		}
	}
	return key, keys, nil
}

// start returns the fetch that is under way. If there is none it begins one,
// unless the last one began less than the interval ago: then it returns nil.
func (r *remoteKeys) start(now time.Time) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.flight != nil {
		return r.flight
	}
	if r.closed || !r.last.IsZero() && now.Before(r.last.Add(r.c.Interval)) {
		return nil
	}
	done := make(chan struct{})
	r.flight, r.last = done, now
	r.running.Go(func() {
		ctx, cancel := context.WithTimeout(r.base, r.c.Timeout)
		defer cancel()
		err := r.refresh(ctx)
		r.failed.Store(err != nil)
		if err != nil && r.base.Err() == nil {
			r.c.Log.Warn("cannot fetch the keys of an issuer", "issuer", r.c.Name, "from", r.c.JWKS, "error", err)
		}
		r.mu.Lock()
		r.flight = nil
		r.mu.Unlock()
		close(done)
	})
	return done
}

// wait waits for a fetch; nil is none.
func (r *remoteKeys) wait(ctx context.Context, flight <-chan struct{}) error {
	if flight == nil {
		return nil
	}
	defer r.waiting.Add(-1)
	if r.waiting.Add(1) > maxWaiting {
		return errCrowded
	}
	select {
	case <-flight:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// refresh fetches the keys. What is no good changes nothing.
func (r *remoteKeys) refresh(ctx context.Context) error {
	text, err := r.fetch(ctx)
	if err != nil {
		return err
	}
	now, old := r.c.Now(), r.state.Load()
	s := &fetched{text: text, at: now}
	if old != nil && bytes.Equal(old.text, text) {
		s.keys = old.keys // the same set: what it has verified stays so
	} else if s.keys, err = parseJWKS(text, r.c.Algorithms); err != nil {
		return fmt.Errorf("not a JWKS document: %w", err)
	}
	// Processes that started together do not ask together for ever.
	s.due = now.Add(r.c.Refresh - rand.N(r.c.Refresh/10+1))
	r.state.Store(s)
	return nil
}

func (r *remoteKeys) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.stop()
	r.running.Wait()
}

func unavailable(err error) error {
	return fault.New(codes.Unavailable, ReasonKeysUnavailable, "the token cannot be verified now").WithRetryAfter(time.Second).Wrap(err).Refused()
}
