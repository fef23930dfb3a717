package catalog_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/fstest"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/argosytest"
	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/event"
	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/rpc"
	"github.com/argosy-go/argosy/shop/catalog"
	catalogv1 "github.com/argosy-go/argosy/shop/gen/catalog/v1"
	catalogv2 "github.com/argosy-go/argosy/shop/gen/catalog/v2"
	moneypb "github.com/argosy-go/argosy/shop/gen/money/v1"
	"github.com/argosy-go/argosy/store"
)

// heard is what a consumer keeps: a row for each time that it is told.
var heard = fstest.MapFS{"migrations/0001_heard.sql": {Data: []byte(
	"-- +goose Up\nCREATE TABLE heard (product TEXT NOT NULL, fact TEXT NOT NULL);\n")}}

func hear(ctx context.Context, tx *store.Tx, product string, price *moneypb.Money, version int64) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO heard (product, fact) VALUES ($1, $2)", product, fact(price, version))
	return err
}

func fact(price *moneypb.Money, version int64) string {
	return fmt.Sprint(price.GetCurrency(), " ", price.GetMinorUnits(), " v", version)
}

// old and young are services that consume version 1 and version 2 of the event.
var (
	old = argosy.Service{Name: "old", Setup: func(s *argosy.Setup) error {
		s.DB(heard)
		event.Consume(s, func(ctx context.Context, tx *store.Tx, e *catalogv1.ProductPriced) error {
			return hear(ctx, tx, e.ProductId, e.Price, e.PriceVersion)
		})
		return nil
	}}
	young = argosy.Service{Name: "young", Setup: func(s *argosy.Setup) error {
		s.DB(heard)
		event.Consume(s, func(ctx context.Context, tx *store.Tx, e *catalogv2.ProductPriced) error {
			return hear(ctx, tx, e.ProductId, e.Price.GetAmount(), e.Price.GetVersion())
		})
		return nil
	}}
)

// facts returns what a consumer was told of a product.
func facts(t *testing.T, f *argosytest.Fleet, service, product string) (all []string) {
	t.Helper()
	err := f.Read(t.Context(), service, func(q store.Querier) error {
		rows, err := q.QueryContext(t.Context(), "SELECT fact FROM heard WHERE product = $1", product)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var one string
			if err := rows.Scan(&one); err != nil {
				return err
			}
			all = append(all, one)
		}
		return rows.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

const product = "bananas-1kg"

func TestTwoVersionsOfTheCatalogLiveSideBySide(t *testing.T) {
	f := argosytest.Start(t, catalog.Service, old, young)
	clerk := auth.Principal{Subject: "clerk", Roles: []string{"support"}}
	v1, v2 := argosytest.Client(f, clerk, catalogv1.NewCatalogClient), argosytest.Client(f, clerk, catalogv2.NewCatalogClient)
	ctx := t.Context()
	one, err := v1.GetProduct(ctx, &catalogv1.GetProductRequest{Id: product})
	if err != nil {
		t.Fatal(err)
	}
	first := fact(one.Price, one.PriceVersion)

	key := rpc.WithIdempotencyKey(ctx, "monday") // of one method of one version: the other's is another
	for range 2 {
		one, err = v1.SetPrice(key, &catalogv1.SetPriceRequest{ProductId: product, Price: &moneypb.Money{Currency: "EUR", MinorUnits: 211}})
		if err != nil || fact(one.Price, one.PriceVersion) != "EUR 211 v2" {
			t.Fatalf("set by version 1: %v, %v", one, err)
		}
		two, err := v2.SetPrice(key, &catalogv2.SetPriceRequest{ProductId: product, Currency: "CHF", MinorUnits: 233})
		if err != nil || len(two.Prices) != 2 || fact(two.Prices[1].Amount, two.Prices[1].Version) != "CHF 233 v1" {
			t.Fatalf("set by version 2: %v, %v", two, err)
		}
	}
	if _, err := v2.SetPrice(ctx, &catalogv2.SetPriceRequest{ProductId: product, Currency: "EUR", MinorUnits: 222}); err != nil {
		t.Fatal(err)
	}
	if _, err := v2.SetPrice(ctx, &catalogv2.SetPriceRequest{ProductId: product, Currency: "CHF", MinorUnits: 244}); err != nil {
		t.Fatal(err)
	}
	_, err = v1.SetPrice(ctx, &catalogv1.SetPriceRequest{ProductId: product, Price: &moneypb.Money{Currency: "CHF", MinorUnits: 1}})
	if fault.CodeOf(err) != codes.InvalidArgument {
		t.Errorf("version 1 sets a price in another currency: %v", err)
	}

	list1, err1 := v1.ListProducts(ctx, &catalogv1.ListProductsRequest{Query: "banana"})
	list2, err2 := v2.ListProducts(ctx, &catalogv2.ListProductsRequest{Query: "banana"})
	if err1 != nil || err2 != nil || len(list1.Products) == 0 || len(list1.Products) != len(list2.Products) {
		t.Fatalf("%v, %v; %v, %v", list1, err1, list2, err2)
	}
	i := slices.IndexFunc(list2.Products, func(p *catalogv2.Product) bool { return p.Id == product })
	if p := list1.Products[i]; p.Id != product || fact(p.Price, p.PriceVersion) != "EUR 222 v3" {
		t.Errorf("version 1 lists %v", p)
	}
	if p := list2.Products[i].Prices; len(p) != 2 || fact(p[0].Amount, p[0].Version) != "EUR 222 v3" || fact(p[1].Amount, p[1].Version) != "CHF 244 v2" {
		t.Errorf("version 2 lists %v", p)
	}

	f.AwaitQuiet(t)
	// A consumer of version 1 takes any price for the price: it hears of one
	// currency alone, as ever.
	if got, want := facts(t, f, "old", product), []string{"EUR 211 v2", "EUR 222 v3", first}; !same(got, want) {
		t.Errorf("a consumer of version 1 heard %q, want %q", got, want)
	}
	if got, want := facts(t, f, "young", product), []string{"CHF 233 v1", "CHF 244 v2", "EUR 211 v2", "EUR 222 v3", first}; !same(got, want) {
		t.Errorf("a consumer of version 2 heard %q, want %q", got, want)
	}
}

// same reports whether two lists have the same in them, each as often.
func same(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

func TestVersionOneSaysThatItGoesAwayAndVersionTwoDoesNot(t *testing.T) {
	f := argosytest.Start(t, catalog.Service)
	anyone := auth.Principal{Subject: "anyone"}
	var md1, md2 metadata.MD
	_, err1 := argosytest.Client(f, anyone, catalogv1.NewCatalogClient).GetProduct(t.Context(), &catalogv1.GetProductRequest{Id: product}, grpc.Header(&md1))
	_, err2 := argosytest.Client(f, anyone, catalogv2.NewCatalogClient).GetProduct(t.Context(), &catalogv2.GetProductRequest{Id: product}, grpc.Header(&md2))
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if len(md1["deprecation"]) != 1 || len(md1["sunset"]) != 1 || len(md1["link"]) != 2 {
		t.Errorf("version 1 says %v", md1)
	}
	if len(md2["deprecation"]) != 0 {
		t.Errorf("version 2 says %v", md2)
	}
}
