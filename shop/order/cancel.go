package order

import (
	"context"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/idempotency"
	"github.com/argosy-go/argosy/saga"
	inventorypb "github.com/argosy-go/argosy/shop/gen/inventory/v1"
	orderpb "github.com/argosy-go/argosy/shop/gen/order/v1"
	paymentpb "github.com/argosy-go/argosy/shop/gen/payment/v1"
	shippingpb "github.com/argosy-go/argosy/shop/gen/shipping/v1"
	"github.com/argosy-go/argosy/store"
)

var errDelivered = fault.New(codes.FailedPrecondition, "ORDER_DELIVERED", "the order has been delivered and can only be returned")

const maxReason = 200

// CancelOrder implements orderpb.OrdersServer. Before the pivot the fulfilment
// is compensated; after it, the refund starts as soon as the fulfilment ends.
func (o *orders) CancelOrder(ctx context.Context, req *orderpb.CancelOrderRequest) (*orderpb.Order, error) {
	if utf8.RuneCountInString(req.Reason) > maxReason {
		return nil, fault.Invalid("reason", "at most %d characters", maxReason)
	}
	return idempotency.Do(ctx, o.db, req, func(ctx context.Context, tx *store.Tx) (*orderpb.Order, error) {
		ord, err := o.owned(ctx, tx, req.Id)
		if err != nil {
			return nil, err
		}
		switch {
		case ord.State == orderpb.State_CANCELLED, ord.State == orderpb.State_CANCELLING:
			return ord, nil // it is, or will be, what the caller wants
		case ord.Delivered:
			return nil, errDelivered
		case ord.State == orderpb.State_REVIEW:
			return nil, fault.New(codes.FailedPrecondition, "ORDER_IN_REVIEW", "a person is looking at the order")
		}
		if err := o.cancelNow(ctx, tx, ord, req.Reason); err != nil {
			return nil, err
		}
		return o.load(ctx, tx, req.Id)
	})
}

func (o *orders) cancelNow(ctx context.Context, tx *store.Tx, ord *orderpb.Order, reason string) error {
	if _, err := tx.ExecContext(ctx, "UPDATE orders SET cancelling = 1, cancel_reason = $1 WHERE id = $2", reason, ord.Id); err != nil {
		return err
	}
	if err := o.change(ctx, tx, ord.Id, orderpb.State_CANCELLING, "cancellation asked for"); err != nil {
		return err
	}
	if ord.State == orderpb.State_CONFIRMED {
		o.refund.Start(tx, ord.Id, &orderpb.Refund{OrderId: ord.Id, Reason: reason})
		return nil
	}
	// Past the pivot the fulfilment goes on to its end and starts the refund there.
	_, err := o.fulfil.Cancel(tx, ord.Id, "the customer cancelled")
	return err
}

// refundIfAsked starts the refund of an order whose cancellation came after
// the money was taken and before the fulfilment ended.
func (o *orders) refundIfAsked(ctx context.Context, tx *store.Tx, id string) error {
	asked, reason, err := cancelAsked(ctx, tx, id)
	if err != nil || !asked {
		return err
	}
	o.refund.Start(tx, id, &orderpb.Refund{OrderId: id, Reason: reason})
	return o.change(ctx, tx, id, orderpb.State_CANCELLING, "the refund has begun")
}

func cancelAsked(ctx context.Context, q store.Querier, id string) (asked bool, reason string, err error) {
	err = q.QueryRowContext(ctx, "SELECT cancelling, cancel_reason FROM orders WHERE id = $1", id).Scan(&asked, &reason)
	return asked, reason, err
}

// The requests of the steps of a refund.

func refundOf(r *orderpb.Refund) *paymentpb.RefundRequest {
	return &paymentpb.RefundRequest{OrderId: r.OrderId}
}

func recallOf(r *orderpb.Refund) *shippingpb.RecallRequest {
	return &shippingpb.RecallRequest{OrderId: r.OrderId}
}

func returnOf(r *orderpb.Refund) *inventorypb.ReturnRequest {
	return &inventorypb.ReturnRequest{OrderId: r.OrderId}
}

func (o *orders) refundEnded(ctx context.Context, tx *store.Tx, r *orderpb.Refund, end saga.Outcome) error {
	if end.State != saga.Completed {
		return o.change(ctx, tx, r.OrderId, orderpb.State_REVIEW, "the refund needs a person")
	}
	ord, err := o.load(ctx, tx, r.OrderId)
	if err != nil {
		return err
	}
	customer, err := o.customerOf(ctx, tx, r.OrderId)
	if err != nil {
		return err
	}
	o.cancelled.Publish(tx, &orderpb.OrderCancelled{OrderId: ord.Id, CustomerId: customer, Reason: r.Reason, Time: timestamppb.New(o.now())})
	return o.change(ctx, tx, r.OrderId, orderpb.State_CANCELLED, "refunded")
}
