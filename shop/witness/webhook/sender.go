package webhook

import (
	"bytes"
	"container/heap"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// Event is the body of a webhook.
type Event struct {
	// ID is the same in every delivery of the event.
	ID string `json:"id"`
	// Type is what happened: "payment.captured", "shipment.delivered".
	Type string `json:"type"`
	// Time is when it happened; an event is not sent before.
	Time time.Time `json:"time"`
	// Data is the thing it happened to.
	Data json.RawMessage `json:"data"`
}

// Config are the manners of a [Sender].
type Config struct {
	// URL receives the events, signed with Secret. Empty: they wait for
	// [Sender.Point].
	URL, Secret string
	// Jitter is the greatest random delay of a delivery, which puts events out
	// of order. Zero: 200 ms.
	Jitter time.Duration
	// Twice is the part of events that are delivered a second time. Zero: 0.2.
	// Below zero: none.
	Twice float64
	// RetryFor is how long after its time an event is tried. Zero: 24 h.
	RetryFor time.Duration
	// MaxPause is the longest pause between two tries. Zero: 5 s.
	MaxPause time.Duration
	// Timeout bounds one delivery. Zero: 5 s.
	Timeout time.Duration
	// Settled is told each event that needs no more deliveries. Nil: nobody.
	Settled func(id string)
	// Random is the source of delays, used under a lock. Nil: a random one.
	Random *rand.Rand
}

// workers is how many deliveries are under way at most.
const workers = 8

// Sender delivers events. Make it with [NewSender] and keep [Sender.Run]
// running; all methods may be used concurrently.
type Sender struct {
	cfg    Config
	client *http.Client
	wake   chan struct{}

	mu      sync.Mutex
	url     string
	secret  string
	queue   queue
	pending map[string]*item
}

type item struct {
	event   Event
	durable func() error
	due     time.Time
	tries   int
	again   bool // to be delivered a second time
	settled bool // delivered once, or revoked
}

// NewSender returns a sender that sends nothing until it runs.
func NewSender(cfg Config) *Sender {
	cfg.Jitter = orDefault(cfg.Jitter, 200*time.Millisecond)
	cfg.RetryFor = orDefault(cfg.RetryFor, 24*time.Hour)
	cfg.MaxPause = orDefault(cfg.MaxPause, 5*time.Second)
	cfg.Timeout = orDefault(cfg.Timeout, 5*time.Second)
	if cfg.Twice == 0 {
		cfg.Twice = 0.2
	}
	if cfg.Random == nil {
		cfg.Random = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	return &Sender{
		cfg: cfg, url: cfg.URL, secret: cfg.Secret,
		client:  &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers, IdleConnTimeout: 30 * time.Second}},
		wake:    make(chan struct{}, 1),
		pending: map[string]*item{},
	}
}

func orDefault(d, def time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return def
}

// Add puts an event in line. It is sent once its time has come and durable,
// which may be nil, has returned nil.
func (s *Sender) Add(e Event, durable func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	it := &item{event: e, durable: durable, again: s.cfg.Random.Float64() < s.cfg.Twice}
	it.due = later(e.Time, time.Now()).Add(s.jitter())
	s.pending[e.ID] = it
	s.push(it)
}

// Revoke takes back an event that was not delivered yet.
func (s *Sender) Revoke(id string) {
	s.mu.Lock()
	it := s.pending[id]
	if it != nil {
		it.again = false
	}
	s.mu.Unlock()
	if it != nil {
		s.settle(it)
	}
}

// Point sends all further deliveries to another address, and tries at once
// those that wait for a retry.
func (s *Sender) Point(url, secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.url, s.secret = url, secret
	now := time.Now()
	for _, it := range s.queue {
		if it.tries > 0 {
			it.tries, it.due = 0, now.Add(s.jitter())
		}
	}
	heap.Init(&s.queue)
	s.nudge()
}

// Pending is how many events wait for their first successful delivery.
func (s *Sender) Pending() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pending)
}

// Run delivers until ctx is done, and returns when the last delivery has
// ended.
func (s *Sender) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer s.client.CloseIdleConnections()
	defer wg.Wait()
	slots := make(chan struct{}, workers)
	for {
		it, pause := s.next()
		if it == nil {
			timer := time.NewTimer(pause)
			select {
			case <-ctx.Done():
				timer.Stop()
				return
			case <-s.wake:
			case <-timer.C:
			}
			timer.Stop()
			continue
		}
		select {
		case <-ctx.Done():
			return
		case slots <- struct{}{}:
		}
		wg.Go(func() {
			defer func() { <-slots }()
			s.attempt(ctx, it)
		})
	}
}

// next takes the event that is due, or says how long to wait for one.
func (s *Sender) next() (*item, time.Duration) {
	const long = time.Hour
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) > 0 && s.url != "" {
		it := s.queue[0]
		if it.settled && !it.again {
			heap.Pop(&s.queue)
			continue
		}
		if pause := time.Until(it.due); pause > 0 {
			return nil, pause
		}
		heap.Pop(&s.queue)
		return it, 0
	}
	return nil, long
}

// attempt delivers an event once and decides what becomes of it.
func (s *Sender) attempt(ctx context.Context, it *item) {
	if it.durable != nil && it.durable() != nil {
		return // never acknowledged: it did not happen
	}
	err := s.post(ctx, it.event)
	now := time.Now()
	s.mu.Lock()
	switch {
	case err == nil && it.settled:
		it.again = false
	case err == nil && it.again:
		it.due = now.Add(s.jitter())
		s.push(it)
	case err != nil && !it.settled && now.Sub(it.event.Time) < s.cfg.RetryFor:
		it.tries++
		it.due = now.Add(s.pause(it.tries))
		s.push(it)
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	s.settle(it)
}

// settle ends the obligation to deliver an event.
func (s *Sender) settle(it *item) {
	s.mu.Lock()
	first := !it.settled
	it.settled = true
	delete(s.pending, it.event.ID)
	s.mu.Unlock()
	if first && s.cfg.Settled != nil {
		s.cfg.Settled(it.event.ID)
	}
}

func (s *Sender) post(ctx context.Context, e Event) error {
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	s.mu.Lock()
	url, secret := s.url, s.secret
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(SignatureHeader, Sign(secret, time.Now(), body))
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, MaxBody))
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("webhook: %s answered %s", url, resp.Status)
	}
	return nil
}

// push, nudge, jitter and pause are called with the lock held.
func (s *Sender) push(it *item) {
	heap.Push(&s.queue, it)
	s.nudge()
}

func (s *Sender) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Sender) jitter() time.Duration {
	return time.Duration(s.cfg.Random.Int64N(int64(s.cfg.Jitter)))
}

func (s *Sender) pause(tries int) time.Duration {
	pause := min(50*time.Millisecond<<min(tries, 16), s.cfg.MaxPause)
	return pause/2 + time.Duration(s.cfg.Random.Int64N(int64(pause)/2+1))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// queue is a heap of items by due time.
type queue []*item

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)        { *q = append(*q, x.(*item)) }
func (q *queue) Pop() any {
	old := *q
	it := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return it
}
