// Package prices is how a service of the shop learns what products cost: it
// asks the catalog, and while the catalog is away it falls back on the last
// prices that events told, with their time.
//
//	book := prices.NewBook(s.DB(migrations), s.Now, argosy.Client(s, catalogpb.NewCatalogClient))
//	event.Consume(s, book.OnProductPriced)
//	offers, asOf, err := book.Offers(ctx, ids)
//
// The service's migrations hold its table:
//
//	CREATE TABLE prices (product_id TEXT PRIMARY KEY, name TEXT NOT NULL, currency TEXT NOT NULL,
//	    amount BIGINT NOT NULL, version BIGINT NOT NULL, at BIGINT NOT NULL);
package prices

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
	catalogv1 "github.com/argosy-go/argosy/shop/gen/catalog/v1"
	catalogpb "github.com/argosy-go/argosy/shop/gen/catalog/v2"
	moneypb "github.com/argosy-go/argosy/shop/gen/money/v1"
	"github.com/argosy-go/argosy/store"
)

// Currency is what the shop sells in.
const Currency = "EUR"

// Money returns an amount in the shop's currency.
func Money(minor int64) *moneypb.Money {
	return &moneypb.Money{Currency: Currency, MinorUnits: minor}
}

// Offer is what a product costs, in minor units.
type Offer struct {
	Name   string
	Amount int64
}

// Book knows prices. Safe for concurrent use.
type Book struct {
	db      *store.DB
	now     func() time.Time
	catalog catalogpb.CatalogClient
}

// NewBook returns a book that asks the catalog and remembers in db.
func NewBook(db *store.DB, now func() time.Time, catalog catalogpb.CatalogClient) *Book {
	return &Book{db: db, now: now, catalog: catalog}
}

// Offers returns what the products cost, without those that nobody sells.
// asOf is zero when the catalog answered, and the time of the oldest price
// used when it is away. A product that was never heard of cannot be priced
// while the catalog is away: then its error is returned.
func (b *Book) Offers(ctx context.Context, ids []string) (offers map[string]Offer, asOf time.Time, err error) {
	found, err := b.catalog.BatchGetProducts(ctx, &catalogpb.BatchGetProductsRequest{Ids: ids})
	switch fault.CodeOf(err) {
	case codes.OK:
		offers = make(map[string]Offer, len(found.Products))
		for _, p := range found.Products {
			for _, price := range p.Prices {
				if price.Amount.GetCurrency() == Currency {
					offers[p.Id] = Offer{p.Name, price.Amount.GetMinorUnits()}
				}
			}
		}
		return offers, time.Time{}, nil
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted:
		return b.remembered(ctx, ids, err)
	}
	return nil, time.Time{}, err
}

func (b *Book) remembered(ctx context.Context, ids []string, away error) (map[string]Offer, time.Time, error) {
	offers := make(map[string]Offer, len(ids))
	oldest := b.now()
	err := b.db.Read(ctx, func(ctx context.Context, q store.Querier) error {
		for _, id := range ids {
			var of Offer
			var at store.Time
			err := q.QueryRowContext(ctx, "SELECT name, amount, at FROM prices WHERE product_id = $1", id).Scan(&of.Name, &of.Amount, &at)
			if errors.Is(err, sql.ErrNoRows) {
				return away
			}
			if err != nil {
				return err
			}
			offers[id] = of
			if at.Before(oldest) {
				oldest = at.Time
			}
		}
		return nil
	})
	return offers, oldest, err
}

// OnProductPriced remembers a price for when the catalog is away.
func (b *Book) OnProductPriced(ctx context.Context, tx *store.Tx, e *catalogpb.ProductPriced) error {
	if e.Price.GetAmount().GetCurrency() != Currency {
		return nil
	}
	return b.remember(ctx, tx, e)
}

// OnProductPricedV1 is OnProductPriced for a service that still consumes version
// 1 of the event, which tells of no other currency.
func (b *Book) OnProductPricedV1(ctx context.Context, tx *store.Tx, e *catalogv1.ProductPriced) error {
	return b.remember(ctx, tx, &catalogpb.ProductPriced{
		ProductId: e.ProductId, Name: e.Name, Price: &catalogpb.Price{Amount: e.Price, Version: e.PriceVersion}, Time: e.Time,
	})
}

func (b *Book) remember(ctx context.Context, tx *store.Tx, e *catalogpb.ProductPriced) error {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO prices (product_id, name, currency, amount, version, at) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (product_id) DO UPDATE
		SET name = excluded.name, currency = excluded.currency, amount = excluded.amount, version = excluded.version, at = excluded.at
		WHERE excluded.version > prices.version`,
		e.ProductId, e.Name, e.Price.GetAmount().GetCurrency(), e.Price.GetAmount().GetMinorUnits(), e.Price.GetVersion(), store.At(e.Time.AsTime()))
	return err
}
