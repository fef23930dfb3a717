package event_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/event"
	"github.com/argosy-go/argosy/event/internal/eventpb"
	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/store"

	"google.golang.org/grpc/codes"
)

var errSoldOut = fault.New(codes.FailedPrecondition, "SOLD_OUT", "there is none left")

// grumpy starts a service that handles nothing until it is told to.
func grumpy(t storeTest, opts ...event.ConsumeOption) (a *app, p placed, open *atomic.Bool) {
	open = &atomic.Bool{}
	a = start(t, config{declare: func(s *service.Setup) {
		p.Publisher = event.Publishes[*eventpb.Placed](s)
		event.Consume(s, func(ctx context.Context, tx *store.Tx, m *eventpb.Placed) error {
			if !open.Load() {
				return errSoldOut
			}
			return record(ctx, tx, m)
		}, append([]event.ConsumeOption{quick, event.MaxAttempts(2)}, opts...)...)
	}})
	return a, p, open
}

func (a *app) awaitDead(n int) {
	a.t.Helper()
	a.await(fmt.Sprintf("%d dead letters", n), func() bool { _, pending, dead := a.backlog(); return dead == n && pending == 0 })
}

var clerk = event.Operator{Actor: "clerk", Reason: "the shelf is full again"}

func TestReplayedDeadLettersHaveTheirEffectOnceInOrder(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		a, p, open := grumpy(t)
		p.publish(a, "a", 1, 2, 3)
		p.publish(a, "b", 1)
		a.awaitDead(4)
		open.Store(true)
		p.publish(a, "a", 4)
		a.awaitEffects(1)
		n, err := event.ReplayDeadLetters(t.Context(), a.db, event.DeadLetterFilter{Key: "a"}, clerk)
		if err != nil || n != 3 {
			t.Fatalf("replayed %d of 3: %v", n, err)
		}
		got := ofKey(a.awaitEffects(4), "a")
		if !slices.Equal(got, []int64{4, 1, 2, 3}) {
			t.Errorf("key a came as %v", got)
		}
		if n, err := event.ReplayDeadLetters(t.Context(), a.db, event.DeadLetterFilter{Key: "a"}, clerk); n != 0 || err != nil {
			t.Errorf("replayed %d letters that are none any more: %v", n, err)
		}
		a.awaitDead(1)
		p.publish(a, "a", 5)
		if got := ofKey(a.awaitEffects(5), "a"); !slices.Equal(got, []int64{4, 1, 2, 3, 5}) {
			t.Errorf("afterwards the key came as %v", got)
		}
		records, err := event.Audit(t.Context(), a.db, 0)
		if err != nil || len(records) != 3 {
			t.Fatalf("%d records of 3 replays: %v", len(records), err)
		}
		if r := records[0]; r.Actor != "clerk" || r.Action != event.ActionReplay || r.Reason != clerk.Reason || r.Key != "a" ||
			r.Consumer != consumerName || r.ID == "" || time.Since(r.Time) > time.Hour {
			t.Errorf("the record is %+v", r)
		}
	})
}

func TestAReplayedLetterGoesBeforeWhatWaitsForItsKey(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		var p placed
		var open atomic.Bool
		a := start(t, config{declare: func(s *service.Setup) {
			p.Publisher = event.Publishes[*eventpb.Placed](s)
			var done sync.Map
			event.Consume(s, func(ctx context.Context, tx *store.Tx, m *eventpb.Placed) error {
				_, first := done.Load("first")
				if m.Number == 2 && !first { // it needs what 1 does
					return errors.New("1 is missing")
				}
				if m.Number == 1 {
					if !open.Load() {
						return fmt.Errorf("give up: %w", errSoldOut)
					}
					tx.AfterCommit(func() { done.Store("first", true) })
				}
				return record(ctx, tx, m)
			}, event.Backoff(100*time.Millisecond, 100*time.Millisecond), event.MaxAttempts(1000))
		}})
		p.publish(a, "a", 1)
		a.await("1 waits", func() bool { _, pending, _ := a.backlog(); return pending == 1 })
		a.do(func(ctx context.Context, tx *store.Tx) error { // its attempts end
			_, err := tx.ExecContext(ctx, "UPDATE argosy_inbox_pending SET attempts = 999")
			return err
		})
		a.awaitDead(1)
		p.publish(a, "a", 2, 3)
		a.await("2 and 3 wait", func() bool { _, pending, _ := a.backlog(); return pending == 2 })
		open.Store(true)
		if n, err := event.ReplayDeadLetters(t.Context(), a.db, event.DeadLetterFilter{}, clerk); n != 1 || err != nil {
			t.Fatalf("replayed %d: %v", n, err)
		}
		if got := ofKey(a.awaitEffects(3), "a"); !slices.Equal(got, []int64{1, 2, 3}) {
			t.Errorf("the key came as %v", got)
		}
	})
}

func TestALetterThatFailsAgainIsALetterAgainWithFreshAttempts(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		a, p, _ := grumpy(t)
		p.publish(a, "a", 1)
		a.awaitDead(1)
		before := a.letters()[0]
		if before.Code != "FAILED_PRECONDITION" || before.Reason != "SOLD_OUT" {
			t.Errorf("the letter says %s %s", before.Code, before.Reason)
		}
		if n, err := event.ReplayDeadLetters(t.Context(), a.db, event.DeadLetterFilter{}, clerk); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		a.await("it is a letter again", func() bool { l := a.letters(); return len(l) == 1 && l[0].Time.After(before.Time) })
		after := a.letters()[0]
		if after.Attempts != 2 || after.ID != before.ID {
			t.Errorf("after a replay with 2 attempts the letter is %+v", after)
		}
	})
}

func TestReplayingWhileTheBrokerRepeatsTheEventHasOneEffect(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		changed := &signal{}
		b := newFake(changed)
		var p placed
		var open atomic.Bool
		a := start(t, config{broker: b, changed: changed, declare: func(s *service.Setup) {
			p.Publisher = event.Publishes[*eventpb.Placed](s)
			event.Consume(s, func(ctx context.Context, tx *store.Tx, m *eventpb.Placed) error {
				if !open.Load() {
					return errSoldOut
				}
				return record(ctx, tx, m)
			}, quick, event.MaxAttempts(1))
		}})
		const events = 20
		for n := range int64(events) {
			p.publish(a, fmt.Sprint("key", n%4), n)
		}
		a.awaitDead(events)
		open.Store(true)
		var work sync.WaitGroup
		work.Go(func() {
			for range 3 { // everything comes again while it is replayed
				b.change(func() {
					for _, pos := range b.positions {
						pos.next = 0
					}
				})
			}
		})
		var replayed atomic.Int64
		for range 4 { // operators who do not know of each other
			work.Go(func() {
				n, err := event.ReplayDeadLetters(t.Context(), a.db, event.DeadLetterFilter{}, clerk)
				if err != nil {
					t.Error(err)
				}
				replayed.Add(int64(n))
			})
		}
		work.Wait()
		got := a.awaitEffects(events)
		a.await("nothing waits", func() bool { _, pending, dead := a.backlog(); return pending+dead == 0 })
		if len(a.effects()) != events || replayed.Load() != events {
			t.Errorf("%d events had %d effects after %d replays", events, len(a.effects()), replayed.Load())
		}
		for k := range 4 {
			if numbers := ofKey(got, fmt.Sprint("key", k)); !slices.IsSorted(numbers) {
				t.Errorf("key %d came as %v", k, numbers)
			}
		}
	})
}

func TestWhatCouldNotBePublishedIsPublishedByAReplay(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		a, b, p := publisher(t, service.Options{})
		b.change(func() { b.refuse = func(broker.Message) error { return broker.ErrTooLarge } })
		p.publish(a, "a", 1)
		a.awaitDead(1)
		id := a.letters()[0].ID
		b.change(func() { b.refuse = nil })
		if n, err := event.ReplayDeadLetters(t.Context(), a.db, event.DeadLetterFilter{Letters: []event.DeadLetterID{{ID: id}}}, clerk); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		a.await("it is published", func() bool { return len(b.published(placedTopic)) == 1 })
		if m := b.log[0]; m.ID != id || m.Header["ce-id"] != id || m.Header["ce-subject"] != "a" {
			t.Errorf("published %+v", m)
		}
	})
}

func TestDiscardedLettersAreGoneAndAudited(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		a, p, _ := grumpy(t)
		p.publish(a, "a", 1, 2)
		a.awaitDead(2)
		if _, err := event.DiscardDeadLetters(t.Context(), a.db, event.DeadLetterFilter{}, event.Operator{Actor: "clerk"}); fault.CodeOf(err) != codes.InvalidArgument {
			t.Errorf("discarding without a reason gave %v", err)
		}
		first := a.letters()[0]
		n, err := event.DiscardDeadLetters(t.Context(), a.db, event.DeadLetterFilter{Letters: []event.DeadLetterID{{first.ID, first.Consumer}}}, clerk)
		if n != 1 || err != nil {
			t.Fatal(n, err)
		}
		if left := a.letters(); len(left) != 1 || left[0].ID == first.ID {
			t.Errorf("left is %+v", left)
		}
		records, err := event.Audit(t.Context(), a.db, 0)
		if err != nil || len(records) != 1 || records[0].Action != event.ActionDiscard || records[0].ID != first.ID {
			t.Errorf("records %+v, %v", records, err)
		}
	})
}

func TestDeadLettersAreKeptUntilTheirPolicySaysOtherwise(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		now := time.Now()
		var clock atomic.Pointer[time.Time]
		clock.Store(&now)
		for _, c := range []struct {
			name string
			age  time.Duration
			left int
		}{{"for ever", 0, 1}, {"for a week", 7 * 24 * time.Hour, 0}} {
			t.Run(c.name, func(t storeTest) {
				clock.Store(&now)
				var p placed
				a := start(t, config{now: func() time.Time { return *clock.Load() }, set: func(s *event.Settings) { s.DeadLetterMaxAge = c.age }, declare: func(s *service.Setup) {
					p.Publisher = event.Publishes[*eventpb.Placed](s)
					event.Consume(s, func(context.Context, *store.Tx, *eventpb.Placed) error { return errSoldOut }, event.MaxAttempts(1))
				}})
				p.publish(a, "a", 1)
				a.awaitDead(1)
				later := now.Add(8 * 24 * time.Hour)
				clock.Store(&later)
				if err := event.Trim(t.Context(), a.setup); err != nil {
					t.Fatal(err)
				}
				if _, _, dead := a.backlog(); dead != c.left {
					t.Errorf("after 8 days %d letters are left and not %d", dead, c.left)
				}
			})
		}
	})
}

// ask asks the operators' API of a service and decodes the answer.
func (a *app) ask(method, path, body string, into any) int {
	a.t.Helper()
	mux := http.NewServeMux()
	for _, h := range a.setup.AdminHandlers() {
		mux.Handle(h.Pattern, h.Handler)
	}
	q := httptest.NewRequest(method, path, strings.NewReader(body))
	q.Header.Set("Argosy-Actor", "clerk")
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, q)
	if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
		a.t.Fatalf("%s %s: %v: %s", method, path, err, w.Body)
	}
	return w.Code
}

func TestOperatorsSeeAndChangeDeadLettersOverHTTP(t *testing.T) {
	onEachStore(t, func(t storeTest) {
		a, p, open := grumpy(t)
		for n := range int64(5) {
			p.publish(a, fmt.Sprint("key", n), n)
		}
		a.awaitDead(5)
		var events struct {
			Outbox, Pending, DeadLetters int
			Consumers                    []struct{ Name, Message, Topic, Holder string }
		}
		if code := a.ask("GET", "/events", "", &events); code != 200 || events.DeadLetters != 5 || len(events.Consumers) != 1 ||
			events.Consumers[0].Name != consumerName || events.Consumers[0].Holder != a.setup.Instance() {
			t.Errorf("%d %+v", code, events)
		}
		type letter struct {
			ID, Consumer, Type, Key, Code, Reason, Message string
			Attempts                                       int
			Body                                           map[string]any
			Headers                                        map[string]string
		}
		var page struct {
			DeadLetters []letter
			Next        string
		}
		var all []letter
		for next := "0"; next != ""; next = page.Next {
			if code := a.ask("GET", "/dead-letters?limit=2&after="+next+"&consumer="+url.QueryEscape(consumerName), "", &page); code != 200 {
				t.Fatalf("%d %+v", code, page)
			}
			all = append(all, page.DeadLetters...)
		}
		if len(all) != 5 || all[0].Code != "FAILED_PRECONDITION" || all[0].Reason != "SOLD_OUT" || all[0].Attempts != 2 {
			t.Fatalf("the pages hold %+v", all)
		}
		one := letter{}
		if code := a.ask("GET", "/dead-letters/"+all[0].ID, "", &one); code != 200 || one.Body["orderId"] != all[0].Key || one.Headers["ce-type"] != placedTopic {
			t.Errorf("%d %+v", code, one)
		}
		var problem fault.Problem
		for body, path := range map[string]string{
			`{}`:                         "/dead-letters/replay",
			`{"ids":[],"filter":null}`:   "/dead-letters/discard",
			`{"filter":{}}`:              "/dead-letters/discard", // no reason
			`{"filter":{"who":1}}`:       "/dead-letters/replay",
			`nonsense`:                   "/dead-letters/replay",
			strings.Repeat(" ", 70<<10):  "/dead-letters/replay",
			`{"filter":{},"limit":1001}`: "/dead-letters/replay",
		} {
			if code := a.ask("POST", path, body, &problem); code != 400 {
				t.Errorf("POST %s %.30s gave %d %+v", path, body, code, problem)
			}
		}
		if code := a.ask("GET", "/dead-letters/none", "", &problem); code != 404 || problem.Reason != "DEAD_LETTER_NOT_FOUND" {
			t.Errorf("%d %+v", code, problem)
		}
		var n struct{ Replayed, Discarded int }
		ids, err := json.Marshal(map[string]any{"ids": []map[string]string{{"id": all[0].ID, "consumer": consumerName}}, "reason": "it is stale"})
		if err != nil {
			t.Fatal(err)
		}
		if code := a.ask("POST", "/dead-letters/discard", string(ids), &n); code != 200 || n.Discarded != 1 {
			t.Errorf("%d %+v", code, n)
		}
		open.Store(true)
		if code := a.ask("POST", "/dead-letters/replay", `{"filter":{"type":"`+placedTopic+`"},"limit":3}`, &n); code != 200 || n.Replayed != 3 {
			t.Errorf("%d %+v", code, n)
		}
		a.awaitEffects(3)
		var audit struct {
			Records []struct{ Actor, Action, ID string }
		}
		if code := a.ask("GET", "/events/audit", "", &audit); code != 200 || len(audit.Records) != 4 || audit.Records[0].Actor != "clerk" {
			t.Errorf("%d %+v", code, audit)
		}
	})
}
