package arch

import (
	"fmt"
	"slices"
	"strings"
)

// module is the path of the main module.
const module = "github.com/argosy-go/argosy"

// checkImports returns where the tree breaks the layers.
func checkImports(t *tree, l *layers) []string {
	var bad []string
	homeless := map[string]bool{}
	for _, f := range t.files {
		room, ok := l.roomOf(f.pkg)
		if !ok {
			if !homeless[f.pkg] {
				bad = append(bad, fmt.Sprintf("%s: package %q has no room in layers.txt", f.path, f.pkg))
			}
			homeless[f.pkg] = true
			continue
		}
		for _, i := range f.imports {
			if why := l.objection(f, room, i.path); why != "" {
				bad = append(bad, fmt.Sprintf("%s:%d: imports %s: %s", f.path, i.line, i.path, why))
			}
		}
	}
	for _, m := range t.modules {
		if !slices.Contains(l.modules, m) {
			bad = append(bad, fmt.Sprintf("%s/go.mod: module %q is not named in layers.txt", m, m))
		}
	}
	return bad
}

// objection says why a file of a room may not import a package. Empty: it may.
func (l *layers) objection(f *file, room, path string) string {
	target, ours := strings.CutPrefix(path, module)
	if ours && (target == "" || target[0] == '/') {
		return l.objectionWithin(f, room, strings.TrimPrefix(target, "/"))
	}
	first, _, _ := strings.Cut(path, "/")
	if f.test || !strings.Contains(first, ".") { // tests may use anything; the standard library is everybody's
		if path == "C" {
			return "Argosy builds without cgo"
		}
		return ""
	}
	return l.objectionThird(f.pkg, room, path)
}

// objectionWithin judges an import of the module itself.
func (l *layers) objectionWithin(f *file, room, target string) string {
	to, ok := l.roomOf(target)
	if !ok {
		return fmt.Sprintf("package %q has no room in layers.txt", target)
	}
	internal := target == "internal" || strings.HasPrefix(target, "internal/") || strings.Contains(target, "/internal/")
	switch {
	case underAny(f.pkg, l.alone) && !underAny(target, l.alone):
		return room + " stands alone: it imports nothing of Argosy"
	case internal && to != room && underAny(f.pkg, l.outside):
		return room + " is outside: it uses public packages only"
	case f.test:
		return ""
	case underAny(target, l.kits) && !underAny(f.pkg, l.kits) && !strings.HasPrefix(room, "e2e"):
		return to + " is a test kit, for tests only"
	case !l.mayImport(room, to):
		return fmt.Sprintf("%s may not import %s (layers.txt:%d)", room, to, l.declared[room])
	}
	return ""
}

// objectionThird judges an import of another module: the longest rule that
// matches it holds.
func (l *layers) objectionThird(pkg, room, path string) string {
	var rule *third
	for i, t := range l.thirds {
		if under(path, t.prefix+"/...") && (rule == nil || len(t.prefix) > len(rule.prefix)) {
			rule = &l.thirds[i]
		}
	}
	switch {
	case rule == nil:
		return `no line "third ... in ..." of layers.txt names it`
	case !underAny(pkg, rule.rooms) && !underAny(room, rule.rooms) && !slices.Contains(rule.rooms, room):
		return fmt.Sprintf("only %s may import %s", strings.Join(rule.rooms, ", "), rule.prefix)
	}
	return ""
}
