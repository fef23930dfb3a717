package order

import (
	"context"

	"github.com/google/uuid"

	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/fault"
	orderpb "github.com/argosy-go/argosy/shop/gen/order/v1"
	shippingpb "github.com/argosy-go/argosy/shop/gen/shipping/v1"
	"github.com/argosy-go/argosy/store"
)

// GetOrder implements orderpb.OrdersServer.
func (o *orders) GetOrder(ctx context.Context, req *orderpb.GetOrderRequest) (*orderpb.Order, error) {
	var ord *orderpb.Order
	err := o.db.Read(ctx, func(ctx context.Context, q store.Querier) (err error) {
		ord, err = o.owned(ctx, q, req.Id)
		return err
	})
	return ord, err
}

const (
	defaultPage = 20
	maxPage     = 100
)

// ListOrders implements orderpb.OrdersServer. Ids grow with time, so the page
// token is the last id of the page before.
func (o *orders) ListOrders(ctx context.Context, req *orderpb.ListOrdersRequest) (*orderpb.ListOrdersResponse, error) {
	size := int(req.PageSize)
	switch {
	case size < 0:
		return nil, fault.Invalid("pageSize", "it is not negative")
	case size == 0:
		size = defaultPage
	}
	size = min(size, maxPage)
	before := req.PageToken
	if before == "" {
		before = "~" // after every id
	} else if uuid.Validate(before) != nil {
		return nil, fault.Invalid("pageToken", "it is not a token that this method gave")
	}
	customer, _ := auth.From(ctx)
	res := &orderpb.ListOrdersResponse{}
	err := o.db.Read(ctx, func(ctx context.Context, q store.Querier) error {
		ids, err := newest(ctx, q, customer.Subject, before, size+1)
		if err != nil {
			return err
		}
		for i, id := range ids {
			if i == size {
				res.NextPageToken = ids[i-1]
				break
			}
			ord, err := o.load(ctx, q, id)
			if err != nil {
				return err
			}
			res.Orders = append(res.Orders, ord)
		}
		return nil
	})
	return res, err
}

func newest(ctx context.Context, q store.Querier, customer, before string, limit int) ([]string, error) {
	rows, err := q.QueryContext(ctx, "SELECT id FROM orders WHERE customer_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3", customer, before, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var ids []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// onShipmentDelivered notes that the goods are with the customer.
func (o *orders) onShipmentDelivered(ctx context.Context, tx *store.Tx, e *shippingpb.ShipmentDelivered) error {
	if _, err := tx.ExecContext(ctx, "UPDATE orders SET delivered = 1 WHERE id = $1", e.OrderId); err != nil {
		return err
	}
	return o.progress(ctx, tx, e.OrderId, "delivered")
}
