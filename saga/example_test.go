package saga_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/saga"
	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/store/sqlite"
)

// trip is the state of the example's saga: where to.
type trip = *wrapperspb.StringValue

// Two bookings and a payment, which is declined: the bookings are undone, the
// last first, and the service learns how it ended.
func Example() {
	says := func(what string, err error) func(context.Context, trip) error {
		return func(_ context.Context, t trip) error {
			fmt.Println(what, t.GetValue())
			return err
		}
	}
	declined := fault.New(codes.FailedPrecondition, "DECLINED", "the card was declined")
	var book saga.Saga[trip]
	setup := func(s *service.Setup) {
		book = saga.Define(s, "book-trip",
			saga.Do("flight", says("book a flight to", nil)).Undo(says("cancel the flight to", nil)),
			saga.Do("hotel", says("book a hotel in", nil)).Undo(says("cancel the hotel in", nil)),
			saga.Pivot("pay", says("pay for", declined)),
			saga.Then("send", says("send the tickets for", nil)),
			saga.End(func(_ context.Context, _ *store.Tx, _ trip, o saga.Outcome) error {
				fmt.Println("the trip is", o.State)
				return nil
			}),
		)
	}
	err := run("travel", setup, func(ctx context.Context, db *store.DB) error {
		err := db.Do(ctx, func(_ context.Context, tx *store.Tx) error {
			book.Start(tx, "trip-1", wrapperspb.String("Lisbon"))
			return nil
		})
		if err != nil {
			return err
		}
		trip, err := book.Wait(ctx, "trip-1")
		fmt.Println("because", fault.From(trip.Cause).Message)
		return err
	})
	if err != nil {
		fmt.Println(err)
	}
	// Output:
	// book a flight to Lisbon
	// book a hotel in Lisbon
	// pay for Lisbon
	// cancel the hotel in Lisbon
	// cancel the flight to Lisbon
	// the trip is compensated
	// because the card was declined
}

// A step is a plain function: it is tested by calling it. Call makes one of a
// generated client's method.
func ExampleCall() {
	price := func(_ context.Context, city *wrapperspb.StringValue, _ ...grpc.CallOption) (*wrapperspb.Int64Value, error) {
		return wrapperspb.Int64(int64(100 * len(city.GetValue()))), nil
	}
	ask := saga.Call(price,
		func(t trip) *wrapperspb.StringValue { return wrapperspb.String(t.GetValue()) },
		func(t trip, p *wrapperspb.Int64Value) { t.Value += fmt.Sprintf(" for %d", p.GetValue()) })
	t := wrapperspb.String("Rome")
	fmt.Println(ask(context.Background(), t), t.GetValue())
	// Output: <nil> Rome for 400
}

// The lines of an order are reserved one by one, each under a key of its own,
// and a gift is wrapped where there is one. When the payment is declined, each
// line is released by itself, the last first.
func ExampleEach() {
	says := func(what string) func(context.Context, trip) error {
		return func(ctx context.Context, _ trip) error {
			fmt.Println(what, saga.Item(ctx), "under", saga.Key(ctx))
			return nil
		}
	}
	var fulfil saga.Saga[trip]
	setup := func(s *service.Setup) {
		fulfil = saga.Define(s, "fulfil",
			saga.Deadline(func(trip) time.Duration { return time.Hour }),
			saga.Each("lines", func(t trip) []string { return strings.Fields(t.GetValue()) },
				saga.Do("reserve", says("reserve")).Undo(says("release"))),
			saga.When("gift", func(t trip) bool { return strings.Contains(t.GetValue(), "gift") },
				saga.Do("wrap", says("wrap it")).NoUndo()),
			saga.Pivot("capture", func(context.Context, trip) error {
				return fault.New(codes.FailedPrecondition, "DECLINED", "the card was declined")
			}),
		)
	}
	err := run("order", setup, func(ctx context.Context, db *store.DB) error {
		err := db.Do(ctx, func(_ context.Context, tx *store.Tx) error {
			fulfil.Start(tx, "7", wrapperspb.String("lamp book"))
			return nil
		})
		if err != nil {
			return err
		}
		run, err := fulfil.Wait(ctx, "7")
		fmt.Println(run.State)
		return err
	})
	if err != nil {
		fmt.Println(err)
	}
	// Output:
	// reserve lamp under fulfil/7/reserve/lamp
	// reserve book under fulfil/7/reserve/book
	// release book under fulfil/7/reserve/book/undo
	// release lamp under fulfil/7/reserve/lamp/undo
	// compensated
}

// A payment that was refused parks the run; somebody pays by hand, and the step
// is skipped.
func ExampleOperate() {
	refused := fault.New(codes.FailedPrecondition, "NO_FUNDS", "there are no funds")
	var pay saga.Saga[trip]
	setup := func(s *service.Setup) {
		pay = saga.Define(s, "pay",
			saga.Pivot("order", func(context.Context, trip) error { return nil }),
			saga.Then("transfer", func(context.Context, trip) error { return refused }),
			saga.Then("receipt", func(context.Context, trip) error { fmt.Println("send the receipt"); return nil }),
		)
	}
	err := run("bank", setup, func(ctx context.Context, db *store.DB) error {
		err := db.Do(ctx, func(_ context.Context, tx *store.Tx) error {
			pay.Start(tx, "7", wrapperspb.String("rent"))
			return nil
		})
		if err != nil {
			return err
		}
		run, err := pay.Wait(ctx, "7")
		if err != nil {
			return err
		}
		fmt.Println(run.State, "at", run.Step)
		skip := saga.Order{Saga: "pay", ID: "7", Action: saga.Skip, Step: "transfer", Actor: "ann", Reason: "paid in cash"}
		if _, err := saga.Operate(ctx, db, skip); err != nil {
			return err
		}
		if run, err = pay.Wait(ctx, "7"); err != nil {
			return err
		}
		last := run.History[len(run.History)-1]
		fmt.Println(run.State, "since", last.Actor, last.Kind, last.Step+":", last.Reason)
		return nil
	})
	if err != nil {
		fmt.Println(err)
	}
	// Output:
	// parked at transfer
	// send the receipt
	// completed since ann skipped transfer: paid in cash
}

// run does in small what argosy.Run does for a program: it opens the store of
// a service, runs its workers round f, and stops them.
func run(name string, setup func(*service.Setup), f func(context.Context, *store.DB) error) (err error) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	s := service.New(name, service.Options{})
	if setup(s); s.Err() != nil {
		return s.Err()
	}
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	db := s.DB(nil)
	if err := db.Open(ctx, sqlite.Opener{}, store.OpenOptions{Dir: dir}); err != nil {
		return err
	}
	for _, h := range s.StartHooks() {
		if err := h.Run(ctx); err != nil {
			return err
		}
	}
	var workers sync.WaitGroup
	for _, w := range s.Workers() {
		workers.Go(func() { _ = w.Run(ctx) })
	}
	err = f(ctx, db)
	stop()
	workers.Wait()
	return errors.Join(err, db.Close())
}
