package e2e

import (
	"context"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/argosytest"
	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/rpc"
	inventorypb "github.com/argosy-go/argosy/shop/gen/inventory/v1"
	moneypb "github.com/argosy-go/argosy/shop/gen/money/v1"
	paymentpb "github.com/argosy-go/argosy/shop/gen/payment/v1"
	shippingpb "github.com/argosy-go/argosy/shop/gen/shipping/v1"
	"github.com/argosy-go/argosy/shop/inventory"
	"github.com/argosy-go/argosy/shop/payment"
	"github.com/argosy-go/argosy/shop/seed"
	"github.com/argosy-go/argosy/shop/shipping"
	"github.com/argosy-go/argosy/shop/witness/bank"
)

// orderThatCalls stands for service order in tests that call participants of its
// sagas under its name: only who declares it may.
func orderThatCalls(declare func(*argosy.Setup)) argosy.Service {
	return argosy.Service{Name: "order", Setup: func(s *argosy.Setup) error {
		declare(s)
		return nil
	}}
}

// TestAnUndoThatOvertakesItsStepLeavesATombstone sends each participant the
// undo of a step first and the step after it, under the keys that a saga gives
// them: the late step must be refused, at the partner outside as well.
func TestAnUndoThatOvertakesItsStepLeavesATombstone(t *testing.T) {
	dir := t.TempDir()
	outside := newPartners(t, dir, trouble{}, 0)
	t.Cleanup(outside.stop)
	order := orderThatCalls(func(s *argosy.Setup) {
		argosy.Client(s, inventorypb.NewInventoryClient)
		argosy.Client(s, paymentpb.NewPaymentClient)
		argosy.Client(s, shippingpb.NewShippingClient)
	})
	f := argosytest.StartConfig(t, argosytest.Config{
		Services: []argosy.Service{inventory.Service, payment.Service, shipping.Service, order}, Dir: dir,
		Args: []string{"--payment.bank-url=" + outside.bank, "--shipping.carrier-url=" + outside.carrier},
	})
	saga := auth.Principal{Subject: "order", Service: "order", Roles: []string{auth.RoleService}}
	stock := argosytest.Client(f, saga, inventorypb.NewInventoryClient)
	money := argosytest.Client(f, saga, paymentpb.NewPaymentClient)
	parcels := argosytest.Client(f, saga, shippingpb.NewShippingClient)
	items := []*inventorypb.Item{{ProductId: seed.Products()[0].ID, Quantity: 1}}
	for name, test := range map[string]struct{ undo, do func(context.Context) error }{
		"inventory": {
			func(ctx context.Context) error {
				_, err := stock.Release(ctx, &inventorypb.ReleaseRequest{OrderId: "o"})
				return err
			},
			func(ctx context.Context) error {
				_, err := stock.Reserve(ctx, &inventorypb.ReserveRequest{OrderId: "o", Items: items})
				return err
			},
		},
		"payment": {
			func(ctx context.Context) error {
				_, err := money.Void(ctx, &paymentpb.VoidRequest{OrderId: "o"})
				return err
			},
			func(ctx context.Context) error {
				_, err := money.Authorize(ctx, &paymentpb.AuthorizeRequest{
					OrderId: "o", PaymentToken: bank.TokenOK, Amount: &moneypb.Money{Currency: "EUR", MinorUnits: 100},
				})
				return err
			},
		},
		"shipping": {
			func(ctx context.Context) error {
				_, err := parcels.CancelBooking(ctx, &shippingpb.CancelBookingRequest{OrderId: "o"})
				return err
			},
			func(ctx context.Context) error {
				_, err := parcels.Book(ctx, &shippingpb.BookRequest{OrderId: "o", Items: 1})
				return err
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := test.undo(rpc.WithIdempotencyKey(t.Context(), "run/step/undo")); err != nil {
				t.Fatalf("the undo of a step that nobody has heard of: %v", err)
			}
			err := test.do(rpc.WithIdempotencyKey(t.Context(), "run/step"))
			if fault.CodeOf(err) != codes.FailedPrecondition {
				t.Errorf("the step that comes after its undo: %v, want a refusal", err)
			}
		})
	}
	f.AwaitQuiet(t)
}
