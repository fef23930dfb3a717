package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// change is a difference between the tree and what it should be.
type change struct {
	path string
	text []byte // nil: the file goes
	verb string // "add", "change" or "remove"
}

// String returns the change as a line of output.
func (c change) String() string { return c.verb + " " + c.path }

// compare returns what must change in the tree at root so that its generated
// files are those of want, sorted by path.
func compare(root string, want map[string][]byte) ([]change, error) {
	var changes []change
	for path, text := range want {
		have, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(path)))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			changes = append(changes, change{path, text, "add"})
		case err != nil:
			return nil, err
		case !bytes.Equal(have, text):
			changes = append(changes, change{path, text, "change"})
		}
	}
	err := walk(root, func(path string) error {
		generated := strings.HasSuffix(path, ".pb.go") || strings.HasSuffix(path, ".pb.gw.go")
		if _, ok := want[path]; !ok && generated {
			changes = append(changes, change{path, nil, "remove"})
		}
		return nil
	})
	slices.SortFunc(changes, func(a, b change) int { return strings.Compare(a.path, b.path) })
	return changes, err
}

// apply makes the change. A reader sees the old file or the new one, never a part.
func (c change) apply(root string) error {
	target := filepath.Join(root, filepath.FromSlash(c.path))
	if c.text == nil {
		return os.Remove(target)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	next := target + ".next"
	if err := os.WriteFile(next, c.text, 0o644); err != nil {
		return err
	}
	return os.Rename(next, target)
}
