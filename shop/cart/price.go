package cart

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	cartpb "github.com/argosy-go/argosy/shop/gen/cart/v1"
	"github.com/argosy-go/argosy/shop/prices"
)

// cart returns a customer's cart with prices. A product that is not sold any
// more is left out.
func (c *carts) cart(ctx context.Context, customer string) (*cartpb.Cart, error) {
	items, err := c.items(ctx, customer)
	if err != nil {
		return nil, err
	}
	res := &cartpb.Cart{Total: prices.Money(0)}
	if len(items) == 0 {
		return res, nil
	}
	ids := make([]string, len(items))
	for i, it := range items {
		ids[i] = it.product
	}
	offers, asOf, err := c.prices.Offers(ctx, ids)
	if err != nil {
		return nil, err
	}
	if !asOf.IsZero() {
		res.PricesAsOf = timestamppb.New(asOf)
	}
	for _, it := range items {
		of, ok := offers[it.product]
		if !ok {
			continue
		}
		line := of.Amount * int64(it.quantity)
		res.Total.MinorUnits += line
		res.Lines = append(res.Lines, &cartpb.CartLine{
			ProductId: it.product, Name: of.Name, Quantity: it.quantity,
			UnitPrice: prices.Money(of.Amount),
			LineTotal: prices.Money(line),
		})
	}
	return res, nil
}
