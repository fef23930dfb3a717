// Package catalog knows the products and what they cost in each currency that
// they are sold in. A price has versions, and each change is an event, so that
// others can go on while the catalog is away.
//
// Two versions of its contract and of its event live side by side: version 1,
// from when a product had one price, is translated to version 2 at the boundary.
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
	catalogv1 "github.com/argosy-go/argosy/shop/gen/catalog/v1"
	catalogpb "github.com/argosy-go/argosy/shop/gen/catalog/v2"
	"github.com/argosy-go/argosy/shop/seed"
	"github.com/argosy-go/argosy/store"
)

//go:embed migrations/*.sql
var files embed.FS

// Service is the catalog service.
var Service = argosy.Service{Name: "catalog", Setup: setup}

type catalog struct {
	catalogpb.UnimplementedCatalogServer
	db       *store.DB
	now      func() time.Time
	priced   event.Publisher[*catalogpb.ProductPriced]
	pricedV1 event.Publisher[*catalogv1.ProductPriced]
}

func setup(s *argosy.Setup) error {
	c := &catalog{db: s.DB(files), now: s.Now}
	c.priced = event.Publishes[*catalogpb.ProductPriced](s)
	c.pricedV1 = event.Publishes[*catalogv1.ProductPriced](s)
	s.OnStart("list the products", c.list)
	catalogpb.RegisterCatalogServer(s, c)
	catalogv1.RegisterCatalogServer(s, version1{catalog: c})
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
				Prices: []*catalogpb.Price{{Amount: money(seed.Currency, p.Price), Version: 1}},
			}
			if err := c.insert(ctx, tx, product); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *catalog) insert(ctx context.Context, tx *store.Tx, p *catalogpb.Product) error {
	price := p.Prices[home]
	_, err := tx.ExecContext(ctx, `
		INSERT INTO products (id, name, category, emoji, description, currency, price, price_version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		p.Id, p.Name, p.Category, p.Emoji, p.Description, price.Amount.Currency, price.Amount.MinorUnits, price.Version)
	if err != nil {
		return err
	}
	c.announce(tx, p, home)
	return nil
}

// announce tells what a product costs from now on, by one of its prices. Both
// versions of the event are of one transaction, so that each consumer hears of
// it once, whichever it consumes. Version 1 knows one price of a product: one in
// another currency would be taken for it.
func (c *catalog) announce(tx *store.Tx, p *catalogpb.Product, price int) {
	at, now := timestamppb.New(c.now()), p.Prices[price]
	c.priced.Publish(tx, &catalogpb.ProductPriced{ProductId: p.Id, Name: p.Name, Price: now, Time: at})
	if price == home {
		c.pricedV1.Publish(tx, &catalogv1.ProductPriced{
			ProductId: p.Id, Name: p.Name, Price: now.Amount, PriceVersion: now.Version, Time: at,
		})
	}
}
