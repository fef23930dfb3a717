package e2e

import (
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/argosytest"
	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/rpc"
	moneypb "github.com/argosy-go/argosy/shop/gen/money/v1"
	paymentpb "github.com/argosy-go/argosy/shop/gen/payment/v1"
	"github.com/argosy-go/argosy/shop/payment"
	"github.com/argosy-go/argosy/shop/witness/bank"
)

// TestARefundAcceptsThatNothingWasCaptured asks for refunds of orders whose
// capture an operator may have skipped: what the bank holds is let go of, and
// what nobody ever asked for can no longer be taken.
func TestARefundAcceptsThatNothingWasCaptured(t *testing.T) {
	dir := t.TempDir()
	outside := newPartners(t, dir, trouble{}, 0)
	t.Cleanup(outside.stop)
	order := orderThatCalls(func(s *argosy.Setup) { argosy.Client(s, paymentpb.NewPaymentClient) })
	f := argosytest.StartConfig(t, argosytest.Config{
		Services: []argosy.Service{payment.Service, order}, Dir: dir, Args: []string{"--payment.bank-url=" + outside.bank},
	})
	saga := auth.Principal{Subject: "order", Service: "order", Roles: []string{auth.RoleService}}
	money := argosytest.Client(f, saga, paymentpb.NewPaymentClient)
	authorize := func(order string) error {
		_, err := money.Authorize(rpc.WithIdempotencyKey(t.Context(), order+"/authorize"), &paymentpb.AuthorizeRequest{
			OrderId: order, PaymentToken: bank.TokenOK, Amount: &moneypb.Money{Currency: "EUR", MinorUnits: 100},
		})
		return err
	}
	if err := authorize("held"); err != nil {
		t.Fatal(err)
	}
	for _, order := range []string{"held", "unknown"} {
		in, err := money.Refund(rpc.WithIdempotencyKey(t.Context(), order+"/refund"), &paymentpb.RefundRequest{OrderId: order})
		if err != nil || in.State != paymentpb.IntentState_VOIDED {
			t.Errorf("the refund of %s: %v %v, want VOIDED", order, in, err)
		}
	}
	if err := authorize("unknown"); fault.CodeOf(err) != codes.FailedPrecondition {
		t.Errorf("an authorization that comes after the refund: %v, want a refusal", err)
	}
	f.AwaitQuiet(t)
}
