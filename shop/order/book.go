package order

import (
	"context"
	"database/sql"
	"errors"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/rpc"
	orderpb "github.com/argosy-go/argosy/shop/gen/order/v1"
	"github.com/argosy-go/argosy/shop/prices"
	"github.com/argosy-go/argosy/store"
)

// insert writes a new order with its lines and its first change.
func (o *orders) insert(ctx context.Context, tx *store.Tx, ord *orderpb.Order, customer string) error {
	at := store.At(ord.CreateTime.AsTime())
	var asOf store.Time
	if ord.PricesAsOf != nil {
		asOf = store.At(ord.PricesAsOf.AsTime())
	}
	_, err := tx.ExecContext(ctx, `
		INSERT INTO orders (id, customer_id, request_key, state, currency, total, prices_as_of, version, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8, $8)`,
		ord.Id, customer, rpc.IdempotencyKey(ctx), ord.State, ord.Total.Currency, ord.Total.MinorUnits, asOf, at)
	if err != nil {
		return err
	}
	for i, l := range ord.Lines {
		_, err := tx.ExecContext(ctx, `
			INSERT INTO order_lines (order_id, position, product_id, name, quantity, unit_price) VALUES ($1, $2, $3, $4, $5, $6)`,
			ord.Id, i, l.ProductId, l.Name, l.Quantity, l.UnitPrice.MinorUnits)
		if err != nil {
			return err
		}
	}
	return o.note(ctx, tx, ord.Id, 1, at, ord.State, ord.Events[0].Detail)
}

// progress notes what has happened to an order in the state that it has.
func (o *orders) progress(ctx context.Context, tx *store.Tx, id, detail string) error {
	at := store.At(o.now())
	var version int64
	var state orderpb.State
	err := tx.QueryRowContext(ctx, "UPDATE orders SET version = version + 1, updated_at = $1 WHERE id = $2 RETURNING version, state", at, id).
		Scan(&version, &state)
	if err != nil {
		return err
	}
	return o.note(ctx, tx, id, version, at, state, detail)
}

// change moves an order to a state.
func (o *orders) change(ctx context.Context, tx *store.Tx, id string, to orderpb.State, detail string) error {
	at := store.At(o.now())
	var version int64
	err := tx.QueryRowContext(ctx, `
		UPDATE orders SET state = $1, version = version + 1, updated_at = $2 WHERE id = $3 RETURNING version`,
		to, at, id).Scan(&version)
	if err != nil {
		return err
	}
	return o.note(ctx, tx, id, version, at, to, detail)
}

func (o *orders) note(ctx context.Context, tx *store.Tx, id string, version int64, at store.Time, state orderpb.State, detail string) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO order_changes (order_id, version, at, state, detail) VALUES ($1, $2, $3, $4, $5)",
		id, version, at, state, detail)
	tx.AfterCommit(func() { o.watchers.wake(id) })
	return err
}

// notFound is the answer for an order that is not there and for one that is
// another customer's: the caller cannot tell them apart.
func notFound(id string) error {
	return fault.New(codes.NotFound, "ORDER_NOT_FOUND", "there is no order %q", id)
}

// owned loads an order if the caller may see it.
func (o *orders) owned(ctx context.Context, q store.Querier, id string) (*orderpb.Order, error) {
	customer, err := o.customerOf(ctx, q, id)
	if err != nil {
		return nil, err
	}
	if p, _ := auth.From(ctx); p.Subject != customer && !p.Has("support") {
		return nil, notFound(id)
	}
	return o.load(ctx, q, id)
}

func (o *orders) customerOf(ctx context.Context, q store.Querier, id string) (string, error) {
	var customer string
	err := q.QueryRowContext(ctx, "SELECT customer_id FROM orders WHERE id = $1", id).Scan(&customer)
	if errors.Is(err, sql.ErrNoRows) {
		return "", notFound(id)
	}
	return customer, err
}

// load reads an order with its lines and changes.
func (o *orders) load(ctx context.Context, q store.Querier, id string) (*orderpb.Order, error) {
	ord := &orderpb.Order{Id: id}
	var total int64
	var asOf, created, updated store.Time
	err := q.QueryRowContext(ctx, `
		SELECT state, total, prices_as_of, delivered, version, created_at, updated_at FROM orders WHERE id = $1`, id).
		Scan(&ord.State, &total, &asOf, &ord.Delivered, &ord.Version, &created, &updated)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, notFound(id)
	}
	if err != nil {
		return nil, err
	}
	ord.Total, ord.CreateTime, ord.UpdateTime = prices.Money(total), timestamppb.New(created.Time), timestamppb.New(updated.Time)
	if !asOf.IsZero() {
		ord.PricesAsOf = timestamppb.New(asOf.Time)
	}
	if ord.Lines, err = lines(ctx, q, id); err != nil {
		return nil, err
	}
	ord.Events, err = changes(ctx, q, id, 0)
	return ord, err
}

// renewed returns an order as it is now, given as it was: only its state and
// its changes are read, since the rest of an order stays as it was placed. It
// returns was itself when nothing has changed. What was holds is not changed.
func (o *orders) renewed(ctx context.Context, q store.Querier, was *orderpb.Order) (*orderpb.Order, error) {
	now := &orderpb.Order{Id: was.Id, Lines: was.Lines, Total: was.Total, PricesAsOf: was.PricesAsOf, CreateTime: was.CreateTime}
	var updated store.Time
	err := q.QueryRowContext(ctx, "SELECT state, delivered, version, updated_at FROM orders WHERE id = $1", was.Id).
		Scan(&now.State, &now.Delivered, &now.Version, &updated)
	if err != nil {
		return nil, err
	}
	if now.Version == was.Version {
		return was, nil
	}
	now.UpdateTime = timestamppb.New(updated.Time)
	news, err := changes(ctx, q, was.Id, was.Version)
	now.Events = append(slices.Clip(was.Events), news...)
	return now, err
}

func lines(ctx context.Context, q store.Querier, id string) ([]*orderpb.PricedLine, error) {
	rows, err := q.QueryContext(ctx, "SELECT product_id, name, quantity, unit_price FROM order_lines WHERE order_id = $1 ORDER BY position", id)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []*orderpb.PricedLine
	for rows.Next() {
		l := &orderpb.PricedLine{}
		var unit int64
		if err := rows.Scan(&l.ProductId, &l.Name, &l.Quantity, &unit); err != nil {
			return nil, err
		}
		l.UnitPrice, l.LineTotal = prices.Money(unit), prices.Money(unit*int64(l.Quantity))
		all = append(all, l)
	}
	return all, rows.Err()
}

// changes reads what has happened to an order after a version of it.
func changes(ctx context.Context, q store.Querier, id string, after int64) ([]*orderpb.Change, error) {
	rows, err := q.QueryContext(ctx, "SELECT at, state, detail FROM order_changes WHERE order_id = $1 AND version > $2 ORDER BY version", id, after)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []*orderpb.Change
	for rows.Next() {
		c := &orderpb.Change{}
		var at store.Time
		if err := rows.Scan(&at, &c.State, &c.Detail); err != nil {
			return nil, err
		}
		c.Time = timestamppb.New(at.Time)
		all = append(all, c)
	}
	return all, rows.Err()
}
