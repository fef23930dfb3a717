// Package inventory owns the stock: what is on hand, what is set aside for
// orders and what has gone out. The sum of the three never changes but by a
// delivery of goods, and every movement is in a journal.
//
//	argosy.Main(all.Engines(), inventory.Service)
package inventory

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/fault"
	inventorypb "github.com/argosy-go/argosy/shop/gen/inventory/v1"
	"github.com/argosy-go/argosy/shop/seed"
	"github.com/argosy-go/argosy/store"
)

//go:embed migrations/*.sql
var files embed.FS

// Service is the inventory service.
var Service = argosy.Service{Name: "inventory", Setup: setup}

type inventory struct {
	inventorypb.UnimplementedInventoryServer
	db  *store.DB
	now func() time.Time
}

func setup(s *argosy.Setup) error {
	i := &inventory{db: s.DB(files), now: s.Now}
	s.OnStart("fill the warehouse", i.fill)
	inventorypb.RegisterInventoryServer(s, i)
	return nil
}

// fill takes the first delivery of the seed's goods, once.
func (i *inventory) fill(ctx context.Context) error {
	return i.db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		var n int
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM stock").Scan(&n); err != nil || n > 0 {
			return err
		}
		for _, p := range seed.Products() {
			_, err := tx.ExecContext(ctx, "INSERT INTO stock (product_id, on_hand, reserved, shipped, initial) VALUES ($1, $2, 0, 0, $2)", p.ID, p.Stock)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// GetStock implements inventorypb.InventoryServer.
func (i *inventory) GetStock(ctx context.Context, req *inventorypb.GetStockRequest) (*inventorypb.Stock, error) {
	st := &inventorypb.Stock{ProductId: req.ProductId}
	err := i.db.Read(ctx, func(ctx context.Context, q store.Querier) error {
		return q.QueryRowContext(ctx, "SELECT on_hand, reserved, shipped FROM stock WHERE product_id = $1", req.ProductId).
			Scan(&st.OnHand, &st.Reserved, &st.Shipped)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fault.New(codes.NotFound, "UNKNOWN_PRODUCT", "there is no product %q", req.ProductId)
	}
	return st, err
}
