package baskets

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/argosy-go/argosy/shop/seed"
)

const header = "% a comment\n@relation supermarket\n@attribute 'bread and cake' { t}\n@ATTRIBUTE fruit {t} % ripe\n@attribute 'total' { low, high}\n@data\n"

func read(text string) ([]Basket, error) {
	var all []Basket
	for b, err := range ReadARFF(strings.NewReader(text)) {
		if err != nil {
			return all, err
		}
		all = append(all, b)
	}
	return all, nil
}

func TestAnInstanceListsWhatWasBought(t *testing.T) {
	got, err := read(header + "t,?,high\n\n% nothing\n?, t ,low\n?,?,low\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []Basket{{"bread and cake"}, {"fruit"}, nil}
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Fatalf("%q, want %q", got, want)
	}
}

func TestAFileThatIsNoARFF(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":                   "",
		"no data":                   "@relation x\n",
		"a stranger's declaration":  "hello\n",
		"an attribute with no name": "@attribute ' { t}\n@data\n",
		"an attribute with no type": "@attribute x\n@data\n",
		"too few values":            header + "t,?\n",
		"too many values":           header + "t,?,low,t\n",
		"another value":             header + "t,x,low\n",
		"a sparse instance":         header + "{0 t}\n",
	} {
		if _, err := read(text); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := read(header + strings.Repeat("t", maxARFFLine+1)); err == nil {
		t.Error("an endless line was read")
	}
}

func TestLoadReadsAFileAndSaysSo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.arff")
	if _, err := Load(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(header+"t,t,low\n?,?,low\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := Load(path)
	if err != nil || set.Len() != 1 || !strings.HasPrefix(set.Source(), "1 real baskets from ") {
		t.Fatalf("%+v, %v", set, err)
	}
}

func TestTheSyntheticBasketsAreTheSameInEveryRunAndSaySo(t *testing.T) {
	a, b := Synthetic(), Synthetic()
	if !strings.Contains(a.Source(), "synthetic") || a.Len() < 500 {
		t.Fatal(a.Source(), a.Len())
	}
	known := map[string]bool{}
	for _, p := range seed.Products() {
		known[p.ID] = true
	}
	lines := 0
	for i := range a.Len() {
		if !slices.Equal(a.Products(i), b.Products(i)) {
			t.Fatalf("basket %d differs", i)
		}
		seen := map[string]bool{}
		for _, p := range a.Products(i) {
			if !known[p.ID] || seen[p.ID] {
				t.Fatalf("basket %d: %s", i, p.ID)
			}
			seen[p.ID] = true
			lines++
		}
		if len(seen) == 0 || len(seen) > 50 {
			t.Fatalf("basket %d has %d lines", i, len(seen))
		}
	}
	if mean := float64(lines) / float64(a.Len()); mean < 5 || mean > 25 {
		t.Fatalf("%.1f lines a basket", mean)
	}
}

func TestEveryDepartmentHasAShelf(t *testing.T) {
	set := Synthetic()
	for _, a := range aisles {
		if len(set.shelves[a.category]) == 0 {
			t.Errorf("%s: no category %q", a.word, a.category)
		}
	}
	if len(set.shelves[category("department1")]) == 0 {
		t.Error("nothing for the house")
	}
}

func FuzzReadARFF(f *testing.F) {
	f.Add(header + "t,?,high\n")
	f.Add("@attribute \"x\" {t}\n@data\n?\n{0 t}\n")
	f.Add("@data\n,\n")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := read(text)
		if err != nil && len(all) == 0 {
			return
		}
		for _, b := range all {
			if slices.Contains(b, "") {
				t.Fatal("a department without a name")
			}
		}
	})
}
