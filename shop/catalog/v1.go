package catalog

import (
	"context"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/idempotency"
	catalogv1 "github.com/argosy-go/argosy/shop/gen/catalog/v1"
	catalogpb "github.com/argosy-go/argosy/shop/gen/catalog/v2"
	"github.com/argosy-go/argosy/store"
)

// version1 serves version 1 of the contract, where a product has one price: that
// of the shop's home.
type version1 struct {
	catalogv1.UnimplementedCatalogServer
	*catalog
}

// productV1 returns a product as version 1 has it.
func productV1(p *catalogpb.Product) *catalogv1.Product {
	return &catalogv1.Product{
		Id: p.Id, Name: p.Name, Category: p.Category, Emoji: p.Emoji, Description: p.Description,
		Price: p.Prices[home].Amount, PriceVersion: p.Prices[home].Version,
	}
}

func productsV1(of []*catalogpb.Product) []*catalogv1.Product {
	all := make([]*catalogv1.Product, 0, len(of))
	for _, p := range of {
		all = append(all, productV1(p))
	}
	return all
}

// ListProducts implements catalogv1.CatalogServer.
func (v version1) ListProducts(ctx context.Context, req *catalogv1.ListProductsRequest) (*catalogv1.ListProductsResponse, error) {
	res, err := v.catalog.ListProducts(ctx, &catalogpb.ListProductsRequest{PageSize: req.PageSize, PageToken: req.PageToken, Query: req.Query})
	if err != nil {
		return nil, err
	}
	return &catalogv1.ListProductsResponse{Products: productsV1(res.Products), NextPageToken: res.NextPageToken}, nil
}

// GetProduct implements catalogv1.CatalogServer.
func (v version1) GetProduct(ctx context.Context, req *catalogv1.GetProductRequest) (*catalogv1.Product, error) {
	p, err := v.catalog.GetProduct(ctx, &catalogpb.GetProductRequest{Id: req.Id})
	if err != nil {
		return nil, err
	}
	return productV1(p), nil
}

// BatchGetProducts implements catalogv1.CatalogServer.
func (v version1) BatchGetProducts(ctx context.Context, req *catalogv1.BatchGetProductsRequest) (*catalogv1.BatchGetProductsResponse, error) {
	res, err := v.catalog.BatchGetProducts(ctx, &catalogpb.BatchGetProductsRequest{Ids: req.Ids})
	if err != nil {
		return nil, err
	}
	return &catalogv1.BatchGetProductsResponse{Products: productsV1(res.Products)}, nil
}

// SetPrice implements catalogv1.CatalogServer. The reply that is kept for an
// idempotency key is one of version 1: a key is of one method of one version.
func (v version1) SetPrice(ctx context.Context, req *catalogv1.SetPriceRequest) (*catalogv1.Product, error) {
	if err := checkAmount("price.minorUnits", req.Price.GetMinorUnits()); err != nil {
		return nil, err
	}
	return idempotency.Do(ctx, v.db, req, func(ctx context.Context, tx *store.Tx) (*catalogv1.Product, error) {
		p, err := get(ctx, tx, req.ProductId)
		if err != nil {
			return nil, err
		}
		if at := p.Prices[home].Amount.Currency; req.Price.Currency != at {
			return nil, fault.Invalid("price.currency", "the product is sold in %s", at)
		}
		if err := v.setPrice(ctx, tx, p, req.Price); err != nil {
			return nil, err
		}
		return productV1(p), nil
	})
}
