package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/event"
	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/saga"
	orderpb "github.com/argosy-go/argosy/shop/gen/order/v1"
	"github.com/argosy-go/argosy/store"
)

// sales is two services with the real mechanisms: sales publishes orders and
// ships them by a saga, desk writes the orders down. Until they are mended,
// desk refuses what it gets, and no carrier is found.
type sales struct {
	mended    atomic.Bool
	db        *store.DB
	confirmed event.Publisher[*orderpb.OrderConfirmed]
	ship      saga.Saga[*orderpb.Fulfilment]
}

func (s *sales) services() []argosy.Service {
	return []argosy.Service{
		{Name: "sales", Setup: func(setup *argosy.Setup) error {
			s.db = setup.DB(nil)
			s.confirmed = event.Publishes[*orderpb.OrderConfirmed](setup)
			done := func(context.Context, *orderpb.Fulfilment) error { return nil }
			s.ship = saga.Define(setup, "ship",
				saga.Do("pack", done).Undo(done),
				saga.Pivot("charge", done),
				saga.Then("send", s.whenMended),
			)
			return nil
		}},
		{Name: "desk", Setup: func(setup *argosy.Setup) error {
			setup.DB(nil)
			event.Consume(setup, func(ctx context.Context, _ *store.Tx, o *orderpb.OrderConfirmed) error {
				return s.whenMended(ctx, nil)
			}, event.MaxAttempts(2), event.Backoff(time.Millisecond, time.Millisecond))
			return nil
		}},
	}
}

func (s *sales) whenMended(context.Context, *orderpb.Fulfilment) error {
	if !s.mended.Load() {
		return fault.New(codes.FailedPrecondition, "OUT_OF_INK", "the \x1b[31mred\x1b[0m ink is empty")
	}
	return nil
}

// order is the command "order ID...": each is published, and shipped.
func (s *sales) order(ts *testscript.TestScript, _ bool, args []string) {
	for _, id := range args {
		ts.Check(s.db.Do(context.Background(), func(_ context.Context, tx *store.Tx) error {
			s.confirmed.Publish(tx, &orderpb.OrderConfirmed{OrderId: id, CustomerId: "c-" + id})
			s.ship.Start(tx, id, &orderpb.Fulfilment{OrderId: id, PaymentToken: "tok_secret"})
			return nil
		}))
	}
}

// await is the command "await PATTERN argosy ...", run until its output has it.
func await(ts *testscript.TestScript, _ bool, args []string) {
	want := regexp.MustCompile("(?m)" + args[0])
	deadline := time.After(30 * time.Second)
	for tick := time.Tick(20 * time.Millisecond); ; {
		var out, errs bytes.Buffer
		code := run(context.Background(), args[2:], strings.NewReader(""), &out, &errs, func(name string) (string, bool) {
			return ts.Getenv(name), ts.Getenv(name) != ""
		})
		if code == 0 && want.Match(out.Bytes()) {
			fmt.Fprint(ts.Stdout(), out.String())
			return
		}
		select {
		case <-deadline:
			ts.Fatalf("%v never printed %q, but\n%s%s", args[1:], args[0], out.Bytes(), errs.Bytes())
		case <-tick:
		}
	}
}

func TestRepairsOfARealFleet(t *testing.T) {
	of := func(ts *testscript.TestScript) *sales { return ts.Value("sales").(*sales) }
	testscript.Run(t, testscript.Params{
		Dir: "testdata/real", UpdateScripts: os.Getenv("ARGOSY_UPDATE") != "",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"argosy": argosyCommand, "code": code, "await": await,
			"order": func(ts *testscript.TestScript, neg bool, args []string) { of(ts).order(ts, neg, args) },
			"mend":  func(ts *testscript.TestScript, _ bool, _ []string) { of(ts).mended.Store(true) },
		},
		Setup: func(env *testscript.Env) error {
			s := &sales{}
			f, err := startFleet(env.WorkDir+"/.data", nil, s.services()...)
			if err != nil {
				return err
			}
			env.Defer(func() {
				if err := stopFleet(f); err != nil {
					env.T().Fatal(err)
				}
			})
			env.Values["sales"] = s
			env.Vars = append(env.Vars, "ARGOSY_ADMIN_URL=http://"+f.Addrs().Admin, "ARGOSY_ACTOR=ada@desk", "HOME="+env.WorkDir)
			return nil
		},
	})
}
