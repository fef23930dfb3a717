// Package seed is what a new shop sells: real, generic names of groceries with
// synthetic prices.
//
//	for _, p := range seed.Products() {
//		fmt.Println(p.ID, p.Name, p.Price) // rolled-oats-500g, "Rolled oats 500 g", 89
//	}
//
// Prices are drawn by a generator with a fixed seed, so that every shop starts
// with the same ones. None was taken from a real shop.
package seed

import (
	_ "embed"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strconv"
	"strings"
)

// Currency of all prices.
const Currency = "EUR"

// Stock is how many pieces of each product a new warehouse holds.
const Stock = 100_000

// priceSeed is the fixed seed of the prices.
const priceSeed = 20_240_601

//go:embed products.tsv
var table string

// Product is one that a new shop sells.
type Product struct {
	// ID is made of the name: lower-case letters, digits and dashes.
	ID string
	// Name for people, with the weight: "Rolled oats 500 g".
	Name        string
	Category    string
	Emoji       string
	Description string
	// Grams is the weight of a piece.
	Grams int64
	// Price of a piece in minor units of [Currency]. Synthetic.
	Price int64
	// Stock is how many pieces a new warehouse holds.
	Stock int64
}

// Products returns the products, by category. The caller owns the slice.
func Products() []Product {
	products, err := parse(table)
	if err != nil {
		panic("seed: " + err.Error()) // the table is part of the program, and tested
	}
	return products
}

// parse reads a table of products.
func parse(table string) ([]Product, error) {
	var products []Product
	for n, line := range strings.Split(table, "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		f := strings.Split(line, "\t")
		if len(f) != 6 {
			return nil, fmt.Errorf("line %d: %d fields, want 6", n+1, len(f))
		}
		grams, err := strconv.ParseInt(f[2], 10, 32)
		if err != nil || grams <= 0 {
			return nil, fmt.Errorf("line %d: weight %q", n+1, f[2])
		}
		middle, err := strconv.ParseInt(f[3], 10, 32)
		if err != nil || middle <= 0 {
			return nil, fmt.Errorf("line %d: price %q", n+1, f[3])
		}
		id := slug(f[4]) + "-" + slug(strings.ReplaceAll(weight(grams), " ", ""))
		products = append(products, Product{
			ID: id, Name: f[4] + " " + weight(grams), Category: f[0], Emoji: f[1], Description: f[5],
			Grams: grams, Price: price(id, middle), Stock: Stock,
		})
	}
	return products, nil
}

// price draws from four fifths to six fifths of the middle; it ends in a nine.
// It depends on the product alone, so that a new line in the table changes no
// other price.
func price(id string, middle int64) int64 {
	h := fnv.New64a()
	h.Write([]byte(id))
	random := rand.New(rand.NewPCG(priceSeed, h.Sum64()))
	drawn := middle*4/5 + random.Int64N(middle*2/5+1)
	return drawn/10*10 + 9
}

// weight is 500 g or 1.5 kg.
func weight(grams int64) string {
	if grams < 1000 {
		return strconv.FormatInt(grams, 10) + " g"
	}
	return strconv.FormatFloat(float64(grams)/1000, 'f', -1, 64) + " kg"
}

// slug makes an id of a name: "Apples, red" is apples-red.
func slug(name string) string {
	words := strings.FieldsFunc(plain.Replace(strings.ToLower(name)), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
	return strings.Join(words, "-")
}

// plain spells what the table's names have beyond ASCII.
var plain = strings.NewReplacer("è", "e", "é", "e", "î", "i", "ü", "u", "ö", "o", "ä", "a", "'", "")
