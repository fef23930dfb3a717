package seed

import (
	"fmt"
	"regexp"
	"slices"
	"testing"
)

func TestTheProductsAreWhole(t *testing.T) {
	products := Products()
	if len(products) < 120 {
		t.Fatalf("%d products", len(products))
	}
	form := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	ids, names := map[string]bool{}, map[string]bool{}
	for _, p := range products {
		if !form.MatchString(p.ID) || ids[p.ID] || names[p.Name] {
			t.Errorf("%q %q: a malformed id, or there twice", p.ID, p.Name)
		}
		ids[p.ID], names[p.Name] = true, true
		if p.Category == "" || p.Emoji == "" || p.Description == "" || p.Grams <= 0 || p.Price < 9 || p.Price%10 != 9 || p.Stock != Stock {
			t.Errorf("%+v", p)
		}
	}
}

func TestThePricesAreTheSameInEveryRun(t *testing.T) {
	if !slices.Equal(Products(), Products()) {
		t.Fatal("two calls differ")
	}
	one, err := parse("Fruit\t🍌\t1000\t179\tBananas\tRipe\n")
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(Products(), func(p Product) bool { return p.ID == one[0].ID })
	if Products()[i].Price != one[0].Price {
		t.Fatal("a price depends on the other lines")
	}
}

func TestATableThatIsBroken(t *testing.T) {
	for name, table := range map[string]string{
		"too few fields": "Fruit\t🍌\t1000\t179\tBananas\n",
		"no weight":      "Fruit\t🍌\t0\t179\tBananas\tRipe\n",
		"no price":       "Fruit\t🍌\t1000\tfree\tBananas\tRipe\n",
	} {
		if _, err := parse(table); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func Example() {
	for _, p := range Products() {
		if p.ID == "rolled-oats-500g" {
			fmt.Println(p.Name, p.Category, p.Grams)
		}
	}
	// Output: Rolled oats 500 g Breakfast and spreads 500
}
