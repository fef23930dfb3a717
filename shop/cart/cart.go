// Package cart holds what customers mean to buy. It shows the catalog's
// prices, and the last ones it heard of, marked with their time, while the
// catalog is away.
//
//	argosy.Main(all.Engines(), cart.Service)
package cart

import (
	"context"
	"embed"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/event"
	"github.com/argosy-go/argosy/fault"
	cartpb "github.com/argosy-go/argosy/shop/gen/cart/v1"
	catalogpb "github.com/argosy-go/argosy/shop/gen/catalog/v2"
	"github.com/argosy-go/argosy/shop/prices"
	"github.com/argosy-go/argosy/store"
)

//go:embed migrations/*.sql
var files embed.FS

// Service is the cart service.
var Service = argosy.Service{Name: "cart", Setup: setup}

type carts struct {
	cartpb.UnimplementedCartsServer
	db     *store.DB
	now    func() time.Time
	prices *prices.Book
}

func setup(s *argosy.Setup) error {
	c := &carts{db: s.DB(files), now: s.Now}
	c.prices = prices.NewBook(c.db, c.now, argosy.Client(s, catalogpb.NewCatalogClient))
	event.Consume(s, c.prices.OnProductPriced)
	cartpb.RegisterCartsServer(s, c)
	return nil
}

const (
	maxQuantity = 99
	maxItems    = 50
)

// GetCart implements cartpb.CartsServer.
func (c *carts) GetCart(ctx context.Context, _ *cartpb.GetCartRequest) (*cartpb.Cart, error) {
	p, _ := auth.From(ctx)
	return c.cart(ctx, p.Subject)
}

// PutItem implements cartpb.CartsServer.
func (c *carts) PutItem(ctx context.Context, req *cartpb.PutItemRequest) (*cartpb.Cart, error) {
	if req.Quantity < 1 || req.Quantity > maxQuantity {
		return nil, fault.Invalid("quantity", "between 1 and %d, not %d", maxQuantity, req.Quantity)
	}
	if err := c.known(ctx, req.ProductId); err != nil {
		return nil, err
	}
	p, _ := auth.From(ctx)
	err := c.db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.ExecContext(ctx, `
			INSERT INTO cart_items (customer_id, product_id, quantity, added_at) VALUES ($1, $2, $3, $4)
			ON CONFLICT (customer_id, product_id) DO UPDATE SET quantity = excluded.quantity`,
			p.Subject, req.ProductId, req.Quantity, store.At(c.now()))
		if err != nil {
			return err
		}
		var n int
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM cart_items WHERE customer_id = $1", p.Subject).Scan(&n); err != nil {
			return err
		}
		if n > maxItems {
			return fault.New(codes.FailedPrecondition, "CART_FULL", "a cart holds at most %d products", maxItems)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return c.cart(ctx, p.Subject)
}

// DeleteItem implements cartpb.CartsServer.
func (c *carts) DeleteItem(ctx context.Context, req *cartpb.DeleteItemRequest) (*cartpb.Cart, error) {
	p, _ := auth.From(ctx)
	err := c.db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM cart_items WHERE customer_id = $1 AND product_id = $2", p.Subject, req.ProductId)
		return err
	})
	if err != nil {
		return nil, err
	}
	return c.cart(ctx, p.Subject)
}

// known checks that a product exists, as far as anybody can tell now.
func (c *carts) known(ctx context.Context, product string) error {
	offers, _, err := c.prices.Offers(ctx, []string{product})
	if err != nil {
		return err
	}
	if _, ok := offers[product]; !ok {
		return fault.New(codes.NotFound, "UNKNOWN_PRODUCT", "there is no product %q", product)
	}
	return nil
}

type item struct {
	product  string
	quantity int32
}

func (c *carts) items(ctx context.Context, customer string) ([]item, error) {
	var all []item
	err := c.db.Read(ctx, func(ctx context.Context, q store.Querier) error {
		rows, err := q.QueryContext(ctx, "SELECT product_id, quantity FROM cart_items WHERE customer_id = $1 ORDER BY added_at, product_id", customer)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var it item
			if err := rows.Scan(&it.product, &it.quantity); err != nil {
				return err
			}
			all = append(all, it)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("cart of %s: %w", customer, err)
	}
	return all, nil
}
