// Package order owns the order book and drives fulfilment.
//
// An order is accepted in one transaction: its rows, the event that it was
// placed, the saga that fulfils it and the reply to the customer's idempotency
// key. From there the saga carries it to its end:
//
//	reserve stock ↔ release
//	authorize     ↔ void
//	book shipment ↔ cancel the booking
//	capture         (the pivot: from here on it goes forward)
//	commit stock, dispatch, confirm
//
// The service is one value of a fleet:
//
//	argosy.Main(all.Engines(), order.Service)
package order

import (
	"embed"
	"time"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/event"
	"github.com/argosy-go/argosy/saga"
	catalogpb "github.com/argosy-go/argosy/shop/gen/catalog/v2"
	inventorypb "github.com/argosy-go/argosy/shop/gen/inventory/v1"
	orderpb "github.com/argosy-go/argosy/shop/gen/order/v1"
	paymentpb "github.com/argosy-go/argosy/shop/gen/payment/v1"
	shippingpb "github.com/argosy-go/argosy/shop/gen/shipping/v1"
	"github.com/argosy-go/argosy/shop/prices"
	"github.com/argosy-go/argosy/store"
)

//go:embed migrations/*.sql
var files embed.FS

// Service is the order service.
var Service = argosy.Service{Name: "order", Setup: setup}

type orders struct {
	orderpb.UnimplementedOrdersServer
	cfg struct {
		MaxLines int `default:"50" usage:"most lines of an order"`
	}
	db        *store.DB
	now       func() time.Time
	prices    *prices.Book
	inventory inventorypb.InventoryClient
	payment   paymentpb.PaymentClient
	shipping  shippingpb.ShippingClient
	placed    event.Publisher[*orderpb.OrderPlaced]
	confirmed event.Publisher[*orderpb.OrderConfirmed]
	cancelled event.Publisher[*orderpb.OrderCancelled]
	fulfil    saga.Saga[*orderpb.Fulfilment]
	refund    saga.Saga[*orderpb.Refund]
	watchers  watchers
}

func setup(s *argosy.Setup) error {
	o := &orders{db: s.DB(files), now: s.Now}
	s.Config(&o.cfg)
	o.prices = prices.NewBook(o.db, o.now, argosy.Client(s, catalogpb.NewCatalogClient))
	o.inventory = argosy.Client(s, inventorypb.NewInventoryClient)
	o.payment = argosy.Client(s, paymentpb.NewPaymentClient)
	o.shipping = argosy.Client(s, shippingpb.NewShippingClient)
	o.placed = event.Publishes[*orderpb.OrderPlaced](s)
	o.confirmed = event.Publishes[*orderpb.OrderConfirmed](s)
	o.cancelled = event.Publishes[*orderpb.OrderCancelled](s)
	event.Consume(s, o.prices.OnProductPricedV1)
	event.Consume(s, o.onShipmentDelivered)
	o.fulfil = saga.Define(s, "fulfil-order",
		saga.Do("reserve", saga.Call(o.inventory.Reserve, reserveOf)).Undo(saga.Call(o.inventory.Release, releaseOf)),
		saga.Do("authorize", saga.Call(o.payment.Authorize, authorizeOf)).Undo(saga.Call(o.payment.Void, voidOf)),
		saga.Do("book", saga.Call(o.shipping.Book, bookOf, keepTracking)).Undo(saga.Call(o.shipping.CancelBooking, cancelBookingOf)),
		saga.Pivot("capture", saga.Call(o.payment.Capture, captureOf)),
		saga.Then("commit-stock", saga.Call(o.inventory.CommitStock, commitOf)),
		saga.Then("dispatch", saga.Call(o.shipping.Dispatch, dispatchOf)),
		saga.ThenTx("confirm", o.confirm),
		saga.OnStep(o.fulfilmentProgressed),
		saga.End(o.fulfilmentEnded),
	)
	o.refund = saga.Define(s, "refund-order",
		saga.Pivot("refund", saga.Call(o.payment.Refund, refundOf)),
		saga.Then("recall", saga.Call(o.shipping.Recall, recallOf)),
		saga.Then("restock", saga.Call(o.inventory.Return, returnOf)),
		saga.End(o.refundEnded),
	)
	orderpb.RegisterOrdersServer(s, o)
	return nil
}
