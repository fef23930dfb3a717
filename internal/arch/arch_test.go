package arch

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
)

func repository(t *testing.T) (*tree, fs.FS) {
	t.Helper()
	root := os.DirFS("../..")
	tr, err := readTree(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(tr.files) < 50 {
		t.Fatalf("found %d files: this is not the repository", len(tr.files))
	}
	return tr, root
}

func report(t *testing.T, bad []string) {
	t.Helper()
	for _, b := range bad {
		t.Error(b)
	}
}

func house(t *testing.T) *layers {
	t.Helper()
	text, err := os.ReadFile("layers.txt")
	if err != nil {
		t.Fatal(err)
	}
	return layersOf(t, string(text))
}

func TestEveryPackageKeepsToItsLayer(t *testing.T) {
	tr, _ := repository(t)
	report(t, checkImports(tr, house(t)))
}

func TestNothingGlobalIsUsed(t *testing.T) {
	tr, _ := repository(t)
	report(t, checkCalls(tr, house(t)))
}

func TestEveryFileHasManners(t *testing.T) {
	tr, _ := repository(t)
	report(t, checkManners(tr))
}

func TestEveryDependencyIsExplained(t *testing.T) {
	tr, root := repository(t)
	gomod, err := fs.ReadFile(root, "go.mod")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := fs.ReadFile(root, "docs/dependencies.md")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	report(t, checkDependencies(tr, string(gomod), string(doc)))
}

func layersOf(t *testing.T, text string) *layers {
	t.Helper()
	l, err := readLayers(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return l
}
