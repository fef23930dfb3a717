package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/argosy-go/argosy/shop/witness/ledger"
)

// What customers are like: parts of a hundred.
const (
	abandons     = 5
	doubleClicks = 10
	cancels      = 5
)

// patience is how long a customer waits for an answer before sending the same
// order again, and attempts how often.
const (
	patience = 5 * time.Second
	attempts = 4
)

// cards are the tokens that customers pay with, as likely as they are often here.
var cards = []string{
	"tok_ok", "tok_ok", "tok_ok", "tok_ok", "tok_ok", "tok_ok", "tok_ok", "tok_ok", "tok_ok", "tok_ok",
	"tok_ok", "tok_ok", "tok_ok", "tok_ok", "tok_ok", "tok_ok", "tok_slow", "tok_slow", "tok_decline", "tok_timeout_after_commit",
}

// customer is one visit, the n-th, which was to begin at an instant.
func (l *run) customer(ctx context.Context, n int, at time.Time, dice *rand.Rand) {
	order := placement{PaymentToken: cards[dice.IntN(len(cards))]}
	for _, p := range l.c.Baskets.Products(n) {
		order.Lines = append(order.Lines, line{p.ID, 1 + dice.IntN(3)})
	}
	if len(order.Lines) > maxLines {
		order.Lines = order.Lines[:maxLines]
	}
	if dice.IntN(100) < abandons || len(order.Lines) == 0 {
		l.count(func(r *Result) { r.Abandoned++ })
		return
	}
	key := fmt.Sprintf("load-%d-%d-%x", l.c.Seed, n, dice.Uint64())
	clicks := 1
	if dice.IntN(100) < doubleClicks {
		clicks = 2
	}
	ids := make([]string, clicks)
	var both sync.WaitGroup
	for i := range clicks {
		both.Go(func() { ids[i] = l.place(ctx, key, order, at, i > 0) })
	}
	both.Wait()
	if dice.IntN(100) < cancels && ids[0] != "" {
		l.cancel(ctx, ids[0], time.Duration(dice.IntN(100))*time.Millisecond)
	}
}

// maxLines is the most lines that the shop takes in an order.
const maxLines = 50

// place sends the order until it is acknowledged or patience has ended, and
// returns its id. What it took is counted from the instant at, so that neither
// a generator that lags nor an attempt that failed makes the shop look quick.
func (l *run) place(ctx context.Context, key string, order placement, at time.Time, again bool) string {
	var id string
	if !l.patiently(ctx, again, func() (err *failure) {
		id, err = l.shop.place(ctx, key, order)
		return err
	}) {
		return ""
	}
	l.acknowledged(key, id, time.Since(at), !again)
	return id
}

// patiently sends a request with a key again while that may help, and reports
// whether it was served.
func (l *run) patiently(ctx context.Context, again bool, send func() *failure) bool {
	for try := range attempts {
		if again || try > 0 {
			l.count(func(r *Result) { r.Retries++ })
		}
		err := send()
		if err == nil {
			return true
		}
		l.count(func(r *Result) { r.Errors[err.Error()]++ })
		pause := time.Duration(try+1) * 200 * time.Millisecond
		if !err.again || !wait(ctx, pause/2+rand.N(pause)) {
			break
		}
	}
	l.count(func(r *Result) { r.Failed++ })
	return false
}

// acknowledged journals an order; a double click is journalled too, so that
// the audit sees both answers, and counted once.
func (l *run) acknowledged(key, id string, took time.Duration, first bool) {
	err := l.journal.Append(ledger.Entry{Kind: "acknowledged", Key: key, Reference: id, Time: time.Now().UTC()}).Wait()
	l.count(func(r *Result) {
		switch {
		case err != nil:
			r.Errors["journal: "+err.Error()]++
		case first:
			r.Acknowledged++
			l.took = append(l.took, took)
		}
	})
}

func (l *run) cancel(ctx context.Context, id string, after time.Duration) {
	if !wait(ctx, after) {
		return
	}
	if l.patiently(ctx, false, func() *failure { return l.shop.cancel(ctx, id) }) {
		l.count(func(r *Result) { r.Cancelled++ })
	}
}

func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
