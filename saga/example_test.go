package saga_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

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
