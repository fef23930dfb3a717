package order

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/saga"
	inventorypb "github.com/argosy-go/argosy/shop/gen/inventory/v1"
	orderpb "github.com/argosy-go/argosy/shop/gen/order/v1"
	paymentpb "github.com/argosy-go/argosy/shop/gen/payment/v1"
	shippingpb "github.com/argosy-go/argosy/shop/gen/shipping/v1"
	"github.com/argosy-go/argosy/store"
)

// The requests of the steps of a fulfilment.

func reserveOf(f *orderpb.Fulfilment) *inventorypb.ReserveRequest {
	r := &inventorypb.ReserveRequest{OrderId: f.OrderId}
	for _, l := range f.Lines {
		r.Items = append(r.Items, &inventorypb.Item{ProductId: l.ProductId, Quantity: l.Quantity})
	}
	return r
}

func releaseOf(f *orderpb.Fulfilment) *inventorypb.ReleaseRequest {
	return &inventorypb.ReleaseRequest{OrderId: f.OrderId}
}

func authorizeOf(f *orderpb.Fulfilment) *paymentpb.AuthorizeRequest {
	return &paymentpb.AuthorizeRequest{OrderId: f.OrderId, Amount: f.Total, PaymentToken: f.PaymentToken}
}

func voidOf(f *orderpb.Fulfilment) *paymentpb.VoidRequest {
	return &paymentpb.VoidRequest{OrderId: f.OrderId}
}

func bookOf(f *orderpb.Fulfilment) *shippingpb.BookRequest {
	r := &shippingpb.BookRequest{OrderId: f.OrderId}
	for _, l := range f.Lines {
		r.Items += l.Quantity
	}
	return r
}

func keepTracking(f *orderpb.Fulfilment, s *shippingpb.Shipment) {
	f.TrackingNumber = s.TrackingNumber
}

func cancelBookingOf(f *orderpb.Fulfilment) *shippingpb.CancelBookingRequest {
	return &shippingpb.CancelBookingRequest{OrderId: f.OrderId}
}

func captureOf(f *orderpb.Fulfilment) *paymentpb.CaptureRequest {
	return &paymentpb.CaptureRequest{OrderId: f.OrderId}
}

func commitOf(f *orderpb.Fulfilment) *inventorypb.CommitStockRequest {
	return &inventorypb.CommitStockRequest{OrderId: f.OrderId}
}

func dispatchOf(f *orderpb.Fulfilment) *shippingpb.DispatchRequest {
	return &shippingpb.DispatchRequest{OrderId: f.OrderId}
}

// milestones are the steps that a customer is told of, in a customer's words.
var milestones = map[string]string{
	"reserve": "stock reserved", "authorize": "card authorized", "book": "carrier booked", "capture": "paid", "dispatch": "handed to the carrier",
}

// fulfilmentProgressed notes a step that succeeded.
func (o *orders) fulfilmentProgressed(ctx context.Context, tx *store.Tx, f *orderpb.Fulfilment, step string) error {
	text, ok := milestones[step]
	if !ok {
		return nil
	}
	return o.progress(ctx, tx, f.OrderId, text)
}

// confirm makes the sale a fact, unless the customer has asked for the money
// back in the meantime: then the refund follows, and nobody is told otherwise.
func (o *orders) confirm(ctx context.Context, tx *store.Tx, f *orderpb.Fulfilment) error {
	asked, _, err := cancelAsked(ctx, tx, f.OrderId)
	if err != nil || asked {
		return err
	}
	o.confirmed.Publish(tx, &orderpb.OrderConfirmed{
		OrderId: f.OrderId, CustomerId: f.CustomerId, Total: f.Total, TrackingNumber: f.TrackingNumber, Time: timestamppb.New(o.now()),
	})
	return o.change(ctx, tx, f.OrderId, orderpb.State_CONFIRMED, "confirmed; its tracking number is "+f.TrackingNumber)
}

// fulfilmentEnded runs in the transaction that ends a fulfilment.
func (o *orders) fulfilmentEnded(ctx context.Context, tx *store.Tx, f *orderpb.Fulfilment, end saga.Outcome) error {
	switch end.State {
	case saga.Compensated:
		reason := "cancelled"
		if e := fault.From(end.Err); e != nil {
			reason = e.Message
		}
		o.cancelled.Publish(tx, &orderpb.OrderCancelled{OrderId: f.OrderId, CustomerId: f.CustomerId, Reason: reason, Time: timestamppb.New(o.now())})
		return o.change(ctx, tx, f.OrderId, orderpb.State_CANCELLED, reason)
	case saga.Parked:
		return o.change(ctx, tx, f.OrderId, orderpb.State_REVIEW, "a person must look at it")
	}
	return o.refundIfAsked(ctx, tx, f.OrderId)
}
