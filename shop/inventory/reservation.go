package inventory

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/argosy-go/argosy/fault"
	inventorypb "github.com/argosy-go/argosy/shop/gen/inventory/v1"
	"github.com/argosy-go/argosy/store"
)

// The states of a reservation.
const (
	reserved  = "RESERVED"
	released  = "RELEASED"
	committed = "COMMITTED"
	returned  = "RETURNED"
)

var errOutOfStock = fault.New(codes.FailedPrecondition, "OUT_OF_STOCK", "there is not enough of it")

// Reserve implements inventorypb.InventoryServer.
func (i *inventory) Reserve(ctx context.Context, req *inventorypb.ReserveRequest) (*emptypb.Empty, error) {
	if req.OrderId == "" || len(req.Items) == 0 {
		return nil, fault.Invalid("items", "an order and at least one item are needed")
	}
	return i.do(ctx, func(ctx context.Context, tx *store.Tx) error {
		state, err := state(ctx, tx, req.OrderId)
		if err != nil {
			return err
		}
		switch state {
		case "":
			return i.reserve(ctx, tx, req)
		case released:
			return fault.New(codes.FailedPrecondition, "RESERVATION_RELEASED", "the reservation of order %s was released", req.OrderId)
		}
		return nil // done before
	})
}

func (i *inventory) reserve(ctx context.Context, tx *store.Tx, req *inventorypb.ReserveRequest) error {
	// Whoever reserves several products takes them in one order, so that two do
	// not wait for each other.
	wanted := slices.SortedFunc(slices.Values(req.Items), func(a, b *inventorypb.Item) int { return cmp.Compare(a.ProductId, b.ProductId) })
	for _, item := range wanted {
		if err := move(ctx, tx, "on_hand", "reserved", item.ProductId, int64(item.Quantity)); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO reservation_items (order_id, product_id, quantity) VALUES ($1, $2, $3)",
			req.OrderId, item.ProductId, item.Quantity)
		if err != nil {
			return err
		}
		if err := i.journal(ctx, tx, req.OrderId, reserved, item.ProductId, int64(item.Quantity)); err != nil {
			return err
		}
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO reservations (order_id, state, at) VALUES ($1, $2, $3)", req.OrderId, reserved, store.At(i.now()))
	return err
}

// Release implements inventorypb.InventoryServer.
func (i *inventory) Release(ctx context.Context, req *inventorypb.ReleaseRequest) (*emptypb.Empty, error) {
	return i.do(ctx, func(ctx context.Context, tx *store.Tx) error {
		state, err := state(ctx, tx, req.OrderId)
		if err != nil {
			return err
		}
		switch state {
		case "":
			_, err := tx.ExecContext(ctx, "INSERT INTO reservations (order_id, state, at) VALUES ($1, $2, $3)", req.OrderId, released, store.At(i.now()))
			return err
		case reserved:
			return i.moveAll(ctx, tx, req.OrderId, "reserved", "on_hand", released)
		case released:
			return nil
		}
		return fault.New(codes.FailedPrecondition, "STOCK_COMMITTED", "the goods of order %s have gone out", req.OrderId)
	})
}

// CommitStock implements inventorypb.InventoryServer.
func (i *inventory) CommitStock(ctx context.Context, req *inventorypb.CommitStockRequest) (*emptypb.Empty, error) {
	return i.do(ctx, func(ctx context.Context, tx *store.Tx) error {
		state, err := state(ctx, tx, req.OrderId)
		if err != nil {
			return err
		}
		switch state {
		case reserved:
			return i.moveAll(ctx, tx, req.OrderId, "reserved", "shipped", committed)
		case committed, returned:
			return nil
		}
		return fault.New(codes.FailedPrecondition, "NOT_RESERVED", "order %s has no reservation", req.OrderId)
	})
}

// Return implements inventorypb.InventoryServer.
func (i *inventory) Return(ctx context.Context, req *inventorypb.ReturnRequest) (*emptypb.Empty, error) {
	return i.do(ctx, func(ctx context.Context, tx *store.Tx) error {
		state, err := state(ctx, tx, req.OrderId)
		if err != nil {
			return err
		}
		switch state {
		case committed:
			return i.moveAll(ctx, tx, req.OrderId, "shipped", "on_hand", returned)
		case returned:
			return nil
		}
		return fault.New(codes.FailedPrecondition, "NOT_SHIPPED", "the goods of order %s have not gone out", req.OrderId)
	})
}

func (i *inventory) do(ctx context.Context, fn func(ctx context.Context, tx *store.Tx) error) (*emptypb.Empty, error) {
	if err := i.db.Do(ctx, fn); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// state returns the state of an order's reservation, "" when there is none.
func state(ctx context.Context, q store.Querier, order string) (string, error) {
	var s string
	err := q.QueryRowContext(ctx, "SELECT state FROM reservations WHERE order_id = $1", order).Scan(&s)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return s, err
}

// moveAll moves all items of a reservation and gives it its new state.
func (i *inventory) moveAll(ctx context.Context, tx *store.Tx, order, from, to, state string) error {
	items, err := items(ctx, tx, order)
	if err != nil {
		return err
	}
	for _, it := range items {
		if err := move(ctx, tx, from, to, it.ProductId, int64(it.Quantity)); err != nil {
			return err
		}
		if err := i.journal(ctx, tx, order, state, it.ProductId, int64(it.Quantity)); err != nil {
			return err
		}
	}
	_, err = tx.ExecContext(ctx, "UPDATE reservations SET state = $1, at = $2 WHERE order_id = $3", state, store.At(i.now()), order)
	return err
}

func items(ctx context.Context, q store.Querier, order string) ([]*inventorypb.Item, error) {
	rows, err := q.QueryContext(ctx, "SELECT product_id, quantity FROM reservation_items WHERE order_id = $1 ORDER BY product_id", order)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []*inventorypb.Item
	for rows.Next() {
		it := &inventorypb.Item{}
		if err := rows.Scan(&it.ProductId, &it.Quantity); err != nil {
			return nil, err
		}
		all = append(all, it)
	}
	return all, rows.Err()
}

// move takes a quantity from one column of the stock to another. The columns
// are ours, never a caller's.
func move(ctx context.Context, tx *store.Tx, from, to, product string, n int64) error {
	res, err := tx.ExecContext(ctx, fmt.Sprintf("UPDATE stock SET %[1]s = %[1]s - $1, %[2]s = %[2]s + $1 WHERE product_id = $2 AND %[1]s >= $1", from, to), n, product)
	if err != nil {
		return err
	}
	if changed, err := res.RowsAffected(); err != nil || changed == 1 {
		return err
	}
	return errOutOfStock.WithMessage("there is not enough of product %s", product).WithMetadata("product_id", product)
}

func (i *inventory) journal(ctx context.Context, tx *store.Tx, order, kind, product string, n int64) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO movements (order_id, kind, product_id, quantity, at) VALUES ($1, $2, $3, $4, $5)",
		order, kind, product, n, store.At(i.now()))
	return err
}
