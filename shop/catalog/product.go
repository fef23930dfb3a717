package catalog

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/idempotency"
	catalogpb "github.com/argosy-go/argosy/shop/gen/catalog/v2"
	moneypb "github.com/argosy-go/argosy/shop/gen/money/v1"
	"github.com/argosy-go/argosy/shop/seed"
	"github.com/argosy-go/argosy/store"
)

const (
	defaultPage = 50
	maxPage     = 200
	maxQuery    = 100
	maxBatch    = 200
	maxPrice    = 10_000_000
	columns     = "id, name, category, emoji, description, currency, price, price_version"
	abroad      = "CHF" // what the shop sells in beside the currency of its home
	home        = 0     // the place of the price in the shop's own currency, which each product has
)

func money(currency string, minor int64) *moneypb.Money {
	return &moneypb.Money{Currency: currency, MinorUnits: minor}
}

func unknown(id string) error {
	return fault.New(codes.NotFound, "UNKNOWN_PRODUCT", "there is no product %q", id)
}

// ListProducts implements catalogpb.CatalogServer. The page token is the name
// and id of the last product of the page before.
func (c *catalog) ListProducts(ctx context.Context, req *catalogpb.ListProductsRequest) (*catalogpb.ListProductsResponse, error) {
	size := int(req.PageSize)
	switch {
	case size < 0:
		return nil, fault.Invalid("pageSize", "it is not negative")
	case size == 0:
		size = defaultPage
	case utf8.RuneCountInString(req.Query) > maxQuery:
		return nil, fault.Invalid("query", "at most %d characters", maxQuery)
	}
	size = min(size, maxPage)
	name, id, err := after(req.PageToken)
	if err != nil {
		return nil, err
	}
	res := &catalogpb.ListProductsResponse{}
	err = c.db.Read(ctx, func(ctx context.Context, q store.Querier) (err error) {
		res.Products, err = query(ctx, q, `
			SELECT `+columns+` FROM products
			WHERE (name > $1 OR (name = $1 AND id > $2)) AND (lower(name) LIKE $3 ESCAPE '\' OR lower(category) LIKE $3 ESCAPE '\')
			ORDER BY name, id LIMIT $4`, name, id, pattern(req.Query), size+1)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(res.Products) > size {
		res.Products = res.Products[:size]
		last := res.Products[size-1]
		res.NextPageToken = base64.RawURLEncoding.EncodeToString([]byte(last.Name + "\x00" + last.Id))
	}
	return res, nil
}

// after reads a page token.
func after(token string) (name, id string, err error) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || !utf8.Valid(b) {
		return "", "", fault.Invalid("pageToken", "it is not a token that this method gave")
	}
	name, id, ok := strings.Cut(string(b), "\x00")
	if !ok && token != "" {
		return "", "", fault.Invalid("pageToken", "it is not a token that this method gave")
	}
	return name, id, nil
}

// pattern makes a LIKE pattern that finds text anywhere, whatever the case.
func pattern(text string) string {
	return "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(strings.ToLower(text)) + "%"
}

// GetProduct implements catalogpb.CatalogServer.
func (c *catalog) GetProduct(ctx context.Context, req *catalogpb.GetProductRequest) (*catalogpb.Product, error) {
	var p *catalogpb.Product
	err := c.db.Read(ctx, func(ctx context.Context, q store.Querier) (err error) {
		p, err = get(ctx, q, req.Id)
		return err
	})
	return p, err
}

// BatchGetProducts implements catalogpb.CatalogServer.
func (c *catalog) BatchGetProducts(ctx context.Context, req *catalogpb.BatchGetProductsRequest) (*catalogpb.BatchGetProductsResponse, error) {
	if len(req.Ids) > maxBatch {
		return nil, fault.Invalid("ids", "at most %d", maxBatch)
	}
	res := &catalogpb.BatchGetProductsResponse{}
	err := c.db.Read(ctx, func(ctx context.Context, q store.Querier) error {
		for _, id := range req.Ids {
			p, err := get(ctx, q, id)
			if fault.CodeOf(err) == codes.NotFound {
				continue
			}
			if err != nil {
				return err
			}
			res.Products = append(res.Products, p)
		}
		return nil
	})
	return res, err
}

// SetPrice implements catalogpb.CatalogServer.
func (c *catalog) SetPrice(ctx context.Context, req *catalogpb.SetPriceRequest) (*catalogpb.Product, error) {
	if err := checkAmount("minorUnits", req.MinorUnits); err != nil {
		return nil, err
	}
	if req.Currency != seed.Currency && req.Currency != abroad {
		return nil, fault.Invalid("currency", "the shop sells in %s and %s", seed.Currency, abroad)
	}
	return idempotency.Do(ctx, c.db, req, func(ctx context.Context, tx *store.Tx) (*catalogpb.Product, error) {
		p, err := get(ctx, tx, req.ProductId)
		if err != nil {
			return nil, err
		}
		return p, c.setPrice(ctx, tx, p, money(req.Currency, req.MinorUnits))
	})
}

func checkAmount(field string, minor int64) error {
	if minor <= 0 || minor > maxPrice {
		return fault.Invalid(field, "between 1 and %d", maxPrice)
	}
	return nil
}

// setPrice gives p a new price in a currency.
func (c *catalog) setPrice(ctx context.Context, tx *store.Tx, p *catalogpb.Product, amount *moneypb.Money) error {
	i := slices.IndexFunc(p.Prices, func(p *catalogpb.Price) bool { return p.Amount.Currency == amount.Currency })
	if i < 0 {
		i = len(p.Prices)
		p.Prices = append(p.Prices, &catalogpb.Price{})
	}
	price := p.Prices[i]
	price.Amount, price.Version = amount, price.Version+1
	var err error
	if i == home {
		_, err = tx.ExecContext(ctx, "UPDATE products SET price = $1, price_version = $2 WHERE id = $3", amount.MinorUnits, price.Version, p.Id)
	} else {
		_, err = tx.ExecContext(ctx, `
			INSERT INTO further_prices (product_id, currency, price, version) VALUES ($1, $2, $3, $4)
			ON CONFLICT (product_id, currency) DO UPDATE SET price = excluded.price, version = excluded.version`,
			p.Id, amount.Currency, amount.MinorUnits, price.Version)
	}
	if err != nil {
		return err
	}
	c.announce(tx, p, i)
	return nil
}

func get(ctx context.Context, q store.Querier, id string) (*catalogpb.Product, error) {
	found, err := query(ctx, q, "SELECT "+columns+" FROM products WHERE id = $1", id)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, unknown(id)
	}
	return found[0], nil
}

// query returns the products that a SELECT of columns finds, by name.
func query(ctx context.Context, q store.Querier, products string, args ...any) ([]*catalogpb.Product, error) {
	rows, err := q.QueryContext(ctx, `
		SELECT p.id, p.name, p.category, p.emoji, p.description, p.currency, p.price, p.price_version, f.currency, f.price, f.version
		FROM (`+products+`) AS p LEFT JOIN further_prices AS f ON f.product_id = p.id
		ORDER BY p.name, p.id, f.currency`, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []*catalogpb.Product
	for rows.Next() {
		p, err := scan(rows)
		if err != nil {
			return nil, err
		}
		if last := len(all) - 1; last >= 0 && all[last].Id == p.Id {
			all[last].Prices = append(all[last].Prices, p.Prices[home+1:]...)
			continue
		}
		all = append(all, p)
	}
	return all, rows.Err()
}

// scan reads a product with one of its further prices, if it has any.
func scan(rows *sql.Rows) (*catalogpb.Product, error) {
	p, price := &catalogpb.Product{}, &catalogpb.Price{Amount: &moneypb.Money{}}
	var currency sql.NullString
	var minor, version sql.NullInt64
	err := rows.Scan(&p.Id, &p.Name, &p.Category, &p.Emoji, &p.Description, &price.Amount.Currency, &price.Amount.MinorUnits, &price.Version,
		&currency, &minor, &version)
	if err != nil {
		return nil, errors.Join(err, rows.Close())
	}
	p.Prices = append(p.Prices, price)
	if currency.Valid {
		p.Prices = append(p.Prices, &catalogpb.Price{Amount: money(currency.String, minor.Int64), Version: version.Int64})
	}
	return p, nil
}
