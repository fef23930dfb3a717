// Package catalog knows the products and what they cost. A price has versions,
// and each change is an event, so that others can go on while the catalog is
// away.
//
//	argosy.Main(all.Engines(), catalog.Service)
package catalog

import (
	"context"
	"embed"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/event"
	catalogpb "github.com/argosy-go/argosy/shop/gen/catalog/v1"
	"github.com/argosy-go/argosy/shop/seed"
	"github.com/argosy-go/argosy/store"
)

//go:embed migrations/*.sql
var files embed.FS

// Service is the catalog service.
var Service = argosy.Service{Name: "catalog", Setup: setup}

type catalog struct {
	catalogpb.UnimplementedCatalogServer
	db     *store.DB
	now    func() time.Time
	priced event.Publisher[*catalogpb.ProductPriced]
}

func setup(s *argosy.Setup) error {
	c := &catalog{db: s.DB(files), now: s.Now, priced: event.Publishes[*catalogpb.ProductPriced](s)}
	s.OnStart("list the products", c.list)
	catalogpb.RegisterCatalogServer(s, c)
	return nil
}

// list puts the seed's products into an empty catalog.
func (c *catalog) list(ctx context.Context) error {
	return c.db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		var n int
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM products").Scan(&n); err != nil || n > 0 {
			return err
		}
		for _, p := range seed.Products() {
			product := &catalogpb.Product{
				Id: p.ID, Name: p.Name, Category: p.Category, Emoji: p.Emoji, Description: p.Description,
				Price: money(seed.Currency, p.Price), PriceVersion: 1,
			}
			if err := c.insert(ctx, tx, product); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *catalog) insert(ctx context.Context, tx *store.Tx, p *catalogpb.Product) error {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO products (id, name, category, emoji, description, currency, price, price_version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		p.Id, p.Name, p.Category, p.Emoji, p.Description, p.Price.Currency, p.Price.MinorUnits, p.PriceVersion)
	if err != nil {
		return err
	}
	c.announce(tx, p)
	return nil
}

// announce tells what a product costs from now on.
func (c *catalog) announce(tx *store.Tx, p *catalogpb.Product) {
	c.priced.Publish(tx, &catalogpb.ProductPriced{
		ProductId: p.Id, Name: p.Name, Price: p.Price, PriceVersion: p.PriceVersion, Time: timestamppb.New(c.now()),
	})
}
