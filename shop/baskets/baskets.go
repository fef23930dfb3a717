// Package baskets is what customers put into their carts together, for load
// that looks like a supermarket's.
//
//	set, err := baskets.Load(baskets.DebianPath)
//	if errors.Is(err, fs.ErrNotExist) {
//		set, err = baskets.Synthetic(), nil
//	}
//	fmt.Println("baskets:", set.Source())
//	products := set.Products(i)
//
// The real ones are the 4,627 baskets of supermarket.arff in Debian's package
// weka, under the GPL and thus not part of this program. The built-in ones are
// synthetic: of the same shape, drawn by a generator with a fixed seed.
package baskets

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"strings"

	"github.com/argosy-go/argosy/shop/seed"
)

// DebianPath is where Debian's package weka keeps the real baskets.
const DebianPath = "/usr/share/doc/weka/examples/supermarket.arff"

// Basket are the departments of a supermarket that one customer bought from.
type Basket []string

// Set is a number of baskets and where they are from. It is not changed once
// made, so it may be used concurrently.
type Set struct {
	source  string
	baskets []Basket
	shelves map[string][]seed.Product
}

// newSet puts the products of the shop on the shelves that baskets take from.
func newSet(source string, baskets []Basket) *Set {
	s := &Set{source: source, baskets: baskets, shelves: map[string][]seed.Product{}}
	for _, p := range seed.Products() {
		s.shelves[p.Category] = append(s.shelves[p.Category], p)
	}
	return s
}

// Source says, for people, which baskets these are.
func (s *Set) Source() string { return s.source }

// Len is how many baskets there are.
func (s *Set) Len() int { return len(s.baskets) }

// Basket returns the i-th basket, counted round and round. It is not to be
// changed.
func (s *Set) Basket(i int) Basket { return s.baskets[i%len(s.baskets)] }

// Products returns one product of the shop for each department of the i-th
// basket, each product once. The same i gives the same products.
func (s *Set) Products(i int) []seed.Product {
	var products []seed.Product
	seen := map[string]bool{}
	for _, department := range s.Basket(i) {
		shelf := s.shelves[category(department)]
		p := shelf[(hash(department)+uint64(i))%uint64(len(shelf))]
		if !seen[p.ID] {
			seen[p.ID] = true
			products = append(products, p)
		}
	}
	return products
}

// Load reads the baskets of an ARFF file into memory.
func Load(path string) (*Set, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("baskets: %w", err)
	}
	defer file.Close()
	var all []Basket
	for b, err := range ReadARFF(file) {
		if err != nil {
			return nil, fmt.Errorf("baskets: %s: %w", path, err)
		}
		if len(b) > 0 {
			all = append(all, b)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("baskets: %s holds none", path)
	}
	return newSet(fmt.Sprintf("%d real baskets from %s", len(all), path), all), nil
}

// aisles are words in the names of departments and the category of the shop
// that is closest. The first that fits holds.
var aisles = []struct{ word, category string }{
	{"frozen", "Frozen"}, {"bake off", "Bread and cake"}, {"bread", "Bread and cake"},
	{"baking", "Baking and spices"}, {"spices", "Baking and spices"}, {"condiments", "Baking and spices"}, {"preserving", "Baking and spices"},
	{"juice", "Drinks"}, {"drink", "Drinks"}, {"tea", "Drinks"}, {"coffee", "Drinks"}, {"beverages", "Drinks"}, {"wine", "Drinks"},
	{"750ml", "Drinks"}, {"sparkling", "Drinks"}, {"sherry", "Drinks"}, {"brew", "Drinks"},
	{"biscuits", "Sweets and snacks"}, {"confection", "Sweets and snacks"}, {"snack", "Sweets and snacks"}, {"puddings", "Sweets and snacks"},
	{"canned fish", "Meat and fish"}, {"canned", "Tins, sauces and oils"}, {"soup", "Tins, sauces and oils"}, {"sauces", "Tins, sauces and oils"}, {"oils", "Tins, sauces and oils"},
	{"breakfast", "Breakfast and spreads"}, {"jams", "Breakfast and spreads"}, {"health food", "Breakfast and spreads"},
	{"cheese", "Cheese"}, {"milk", "Milk, butter and eggs"}, {"dairy", "Milk, butter and eggs"}, {"margarine", "Milk, butter and eggs"},
	{"meat", "Meat and fish"}, {"chicken", "Meat and fish"}, {"beef", "Meat and fish"}, {"lamb", "Meat and fish"}, {"pork", "Meat and fish"},
	{"poultry", "Meat and fish"}, {"hogget", "Meat and fish"}, {"small goods", "Meat and fish"}, {"deli", "Meat and fish"}, {"veal", "Meat and fish"},
	{"dried veg", "Pasta, rice and pulses"}, {"prepared meals", "Pasta, rice and pulses"}, {"grocery", "Pasta, rice and pulses"},
	{"fruit", "Fruit"}, {"vegetables", "Vegetables"}, {"potatoes", "Vegetables"}, {"produce", "Vegetables"}, {"salads", "Vegetables"},
}

// category of the shop for a department; what is no food is for the house.
func category(department string) string {
	for _, a := range aisles {
		if strings.Contains(department, a.word) {
			return a.category
		}
	}
	return "Household and care"
}

func hash(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s))
	return h.Sum64()
}

const (
	syntheticSeed  = 4_627
	syntheticCount = 1_000
)

// Synthetic returns the built-in baskets: the same in every run, most of them
// with a few things that many buy, some with a lot.
func Synthetic() *Set {
	departments := []string{
		"bread and cake", "fruit", "vegetables", "milk-cream", "baking needs", "frozen foods", "biscuits", "juice", "party snacks",
		"cheese", "tissues-paper", "sauces", "tinned fruit and canned soup", "breakfast food", "soft drinks", "beef", "chickens", "potatoes",
		"margarine", "dairy foods", "coffee", "tea", "pet foods", "laundry needs", "grocery misc", "dried vegetables", "cleaners",
		"confectionery", "spices", "jams-spreads", "cooking oils", "small goods", "pork", "dental needs", "haircare", "white wine",
	}
	random := rand.New(rand.NewPCG(syntheticSeed, syntheticSeed))
	all := make([]Basket, syntheticCount)
	for i := range all {
		eager := 0.1 + 1.1*random.Float64() // how full a cart this customer likes
		for rank, d := range departments {
			popular := 1 / (1 + float64(rank)/8)
			if random.Float64() < eager*popular {
				all[i] = append(all[i], d)
			}
		}
		if len(all[i]) == 0 {
			all[i] = Basket{departments[0]}
		}
	}
	return newSet(fmt.Sprintf("%d synthetic baskets, seed %d", len(all), syntheticSeed), all)
}
