package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// module is the module whose contracts are compiled.
const module = "github.com/argosy-go/argosy"

// roots are the folders that import paths start from. A contract outside them
// (that of a test, beside its code) is imported by its path from the root of
// the repository, which keeps the names of files unique in any binary.
var roots = []string{"proto/", "shop/proto/"}

// source is one contract.
type source struct {
	path string // from the root of the repository, with slashes
	name string // as other contracts import it
	text []byte
}

// repository returns the root of the repository: the folder above the working
// directory whose go.mod declares [module].
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && declares(mod, module) {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod of " + module + " in or above the working directory")
		}
		dir = parent
	}
}

func declares(mod []byte, name string) bool {
	for line := range strings.Lines(string(mod)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == "module" {
			return f[1] == name
		}
	}
	return false
}

// findSources returns the contracts of the main module, sorted by path.
func findSources(root string) ([]source, error) {
	var found []source
	err := walk(root, func(p string) error {
		if path.Ext(p) != ".proto" {
			return nil
		}
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(p)))
		if err != nil {
			return err
		}
		found = append(found, source{path: p, name: importPath(p), text: text})
		return nil
	})
	if err != nil {
		return nil, err
	}
	byName := map[string]string{}
	for _, s := range found {
		if other, ok := byName[s.name]; ok {
			return nil, fmt.Errorf("%s and %s are both imported as %q", other, s.path, s.name)
		}
		byName[s.name] = s.path
	}
	slices.SortFunc(found, func(a, b source) int { return strings.Compare(a.path, b.path) })
	return found, nil
}

func importPath(p string) string {
	for _, r := range roots {
		if name, ok := strings.CutPrefix(p, r); ok {
			return name
		}
	}
	return p
}

// walk calls f with the path of every file of the main module: hidden folders,
// testdata and other modules are not part of it.
func walk(root string, f func(path string) error) error {
	return filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() {
			rel, err := filepath.Rel(root, p)
			if err != nil {
				return err
			}
			return f(filepath.ToSlash(rel))
		}
		if p == root {
			return nil
		}
		if strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" {
			return filepath.SkipDir
		}
		if _, err := os.Stat(filepath.Join(p, "go.mod")); err == nil {
			return filepath.SkipDir
		}
		return nil
	})
}
