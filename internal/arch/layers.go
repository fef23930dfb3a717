package arch

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
)

// none stands for no room on the left of an arrow.
const none = "NONE"

// layers is layers.txt, read.
type layers struct {
	rooms    []string                   // in order of appearance
	may      map[string]map[string]bool // room to the rooms that it may import
	kits     []string
	alone    []string
	outside  []string
	thirds   []third
	modules  []string
	declared map[string]int // room to its line
}

// third is who may import a tree of packages of another module.
type third struct {
	prefix string
	rooms  []string
}

// readLayers reads the format that layers.txt describes in its head.
func readLayers(r io.Reader) (*layers, error) {
	l := &layers{may: map[string]map[string]bool{}, declared: map[string]int{}}
	var open strings.Builder // an order that has not come to its semicolon
	scan := bufio.NewScanner(r)
	for n := 1; scan.Scan(); n++ {
		line, _, _ := strings.Cut(scan.Text(), "#")
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		var err error
		word, rest, _ := strings.Cut(line, " ")
		switch {
		case open.Len() == 0 && l.statement(word, strings.TrimSpace(rest)):
		case strings.HasSuffix(line, ";"):
			open.WriteString(strings.TrimSuffix(line, ";"))
			err = l.order(open.String(), n)
			open.Reset()
		default:
			open.WriteString(line + " ")
		}
		if err != nil {
			return nil, fmt.Errorf("layers.txt:%d: %w", n, err)
		}
	}
	if open.Len() > 0 {
		return nil, fmt.Errorf("layers.txt: %q has no semicolon", open.String())
	}
	return l, scan.Err()
}

// statement takes a line that is not an order, and reports whether it was one.
func (l *layers) statement(word, rest string) bool {
	switch word {
	case "kit":
		l.kits = append(l.kits, rest)
	case "alone":
		l.alone = append(l.alone, rest)
	case "outside":
		l.outside = append(l.outside, rest)
	case "module":
		l.modules = append(l.modules, rest)
	case "third":
		prefix, rooms, _ := strings.Cut(rest, " in ")
		l.thirds = append(l.thirds, third{strings.TrimSpace(prefix), list(rooms)})
	default:
		return false
	}
	return true
}

// order takes "a, b < c, d".
func (l *layers) order(text string, line int) error {
	lower, upper, ok := strings.Cut(text, "<")
	if !ok || strings.Contains(upper, "<") {
		return fmt.Errorf("want one < in %q", text)
	}
	allowed := map[string]bool{}
	for _, low := range list(lower) {
		if low == none {
			continue
		}
		if _, ok := l.may[low]; !ok {
			return fmt.Errorf("room %q is used before the line that says what it may import", low)
		}
		allowed[low] = true
		for r := range l.may[low] {
			allowed[r] = true
		}
	}
	for _, up := range list(upper) {
		if was, ok := l.declared[up]; ok {
			return fmt.Errorf("room %q is declared on line %d already", up, was)
		}
		l.declared[up] = line
		l.rooms = append(l.rooms, up)
		l.may[up] = allowed
	}
	return nil
}

func list(text string) []string {
	var out []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

// roomOf returns the room of the package at path ("" is the root of the module).
func (l *layers) roomOf(path string) (string, bool) {
	if path == "" {
		path = "argosy"
	}
	if slices.Contains(l.rooms, path) {
		return path, true
	}
	for _, r := range l.rooms {
		if under(path, r) {
			return r, true
		}
	}
	if before, _, ok := strings.Cut(path, "/internal/"); ok {
		return l.roomOf(before)
	}
	return "", false
}

// mayImport reports whether a package of the room from may import one of the room to.
func (l *layers) mayImport(from, to string) bool { return from == to || l.may[from][to] }

// under reports whether a path is matched by a room: the room itself, or for
// "x/...", x and all below it.
func under(path, room string) bool {
	tree, ok := strings.CutSuffix(room, "/...")
	return path == room || ok && (path == tree || strings.HasPrefix(path, tree+"/"))
}

func underAny(path string, rooms []string) bool {
	return slices.ContainsFunc(rooms, func(r string) bool { return r == "*" || under(path, r) })
}
