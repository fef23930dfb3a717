package order

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/idempotency"
	orderpb "github.com/argosy-go/argosy/shop/gen/order/v1"
	"github.com/argosy-go/argosy/shop/prices"
	"github.com/argosy-go/argosy/store"
)

const (
	maxQuantity = 99
	maxToken    = 100
)

// PlaceOrder implements orderpb.OrdersServer.
func (o *orders) PlaceOrder(ctx context.Context, req *orderpb.PlaceOrderRequest) (*orderpb.Order, error) {
	if err := o.validate(req); err != nil {
		return nil, err
	}
	priced, unpriced := o.price(ctx, req.Lines)
	customer, _ := auth.From(ctx)
	return idempotency.Do(ctx, o.db, req, func(ctx context.Context, tx *store.Tx) (*orderpb.Order, error) {
		if unpriced != nil { // only now: an order that was placed before is answered as it was
			return nil, unpriced
		}
		id, err := uuid.NewV7()
		if err != nil {
			return nil, fmt.Errorf("order id: %w", err)
		}
		ord := priced.order(id.String(), o.now())
		if err := o.insert(ctx, tx, ord, customer.Subject); err != nil {
			return nil, err
		}
		o.placed.Publish(tx, &orderpb.OrderPlaced{OrderId: ord.Id, CustomerId: customer.Subject, Lines: req.Lines, Total: ord.Total, Time: ord.CreateTime})
		o.fulfil.Start(tx, ord.Id, &orderpb.Fulfilment{
			OrderId: ord.Id, CustomerId: customer.Subject, Lines: req.Lines, Total: ord.Total, PaymentToken: req.PaymentToken,
		})
		return ord, nil
	})
}

func (o *orders) validate(req *orderpb.PlaceOrderRequest) error {
	switch {
	case len(req.Lines) == 0:
		return fault.Invalid("lines", "an order has at least one line")
	case len(req.Lines) > o.cfg.MaxLines:
		return fault.Invalid("lines", "an order has at most %d lines, not %d", o.cfg.MaxLines, len(req.Lines))
	case req.PaymentToken == "" || len(req.PaymentToken) > maxToken:
		return fault.Invalid("paymentToken", "the bank's token for the card is needed, at most %d bytes", maxToken)
	}
	seen := map[string]bool{}
	for i, l := range req.Lines {
		switch {
		case l.ProductId == "":
			return fault.Invalid(fmt.Sprintf("lines[%d].productId", i), "a product id is needed")
		case seen[l.ProductId]:
			return fault.Invalid(fmt.Sprintf("lines[%d].productId", i), "product %q is in the order twice: add the quantities up", l.ProductId)
		case l.Quantity < 1 || l.Quantity > maxQuantity:
			return fault.Invalid(fmt.Sprintf("lines[%d].quantity", i), "between 1 and %d, not %d", maxQuantity, l.Quantity)
		}
		seen[l.ProductId] = true
	}
	return nil
}

// pricedLines are the lines of an order with what they cost.
type pricedLines struct {
	lines []*orderpb.PricedLine
	total int64
	asOf  time.Time // set when the catalog could not be asked
}

func (p pricedLines) order(id string, now time.Time) *orderpb.Order {
	at := timestamppb.New(now.Truncate(time.Microsecond))
	ord := &orderpb.Order{
		Id: id, State: orderpb.State_PENDING, Lines: p.lines, Total: prices.Money(p.total), CreateTime: at, UpdateTime: at, Version: 1,
		Events: []*orderpb.Change{{Time: at, State: orderpb.State_PENDING, Detail: "accepted"}},
	}
	if !p.asOf.IsZero() {
		ord.PricesAsOf = timestamppb.New(p.asOf)
	}
	return ord
}

// price finds out what the lines cost.
func (o *orders) price(ctx context.Context, lines []*orderpb.OrderLine) (pricedLines, error) {
	ids := make([]string, len(lines))
	for i, l := range lines {
		ids[i] = l.ProductId
	}
	offers, asOf, err := o.prices.Offers(ctx, ids)
	if err != nil {
		return pricedLines{}, err
	}
	p := pricedLines{asOf: asOf}
	for i, l := range lines {
		offer, ok := offers[l.ProductId]
		if !ok {
			return pricedLines{}, fault.New(codes.FailedPrecondition, "UNKNOWN_PRODUCT", "lines[%d]: there is no product %q", i, l.ProductId)
		}
		line := offer.Amount * int64(l.Quantity)
		p.total += line
		p.lines = append(p.lines, &orderpb.PricedLine{
			ProductId: l.ProductId, Name: offer.Name, Quantity: l.Quantity, UnitPrice: prices.Money(offer.Amount), LineTotal: prices.Money(line),
		})
	}
	return p, nil
}
