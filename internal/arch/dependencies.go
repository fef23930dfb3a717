package arch

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// checkDependencies returns the modules that the tree imports and whose reason
// is missing from docs/dependencies.md, and the lines there that nothing
// imports any more. A line is one that starts with "- `module`" or "| `module`".
func checkDependencies(t *tree, gomod, doc string) []string {
	required := requirements(gomod)
	explained := map[string]bool{}
	for line := range strings.Lines(doc) {
		for _, start := range []string{"- `", "| `"} {
			if rest, ok := strings.CutPrefix(line, start); ok {
				name, _, _ := strings.Cut(rest, "`")
				explained[name] = true
			}
		}
	}
	used := map[string]string{} // module to a file that imports it
	var bad []string
	for _, f := range t.files {
		for _, i := range f.imports {
			first, _, _ := strings.Cut(i.path, "/")
			if !strings.Contains(first, ".") || under(i.path, module+"/...") {
				continue
			}
			m := moduleOf(i.path, required)
			if m == "" {
				bad = append(bad, fmt.Sprintf("%s:%d: no module of go.mod has %s", f.path, i.line, i.path))
			} else if _, ok := used[m]; !ok {
				used[m] = f.path
			}
		}
	}
	for _, m := range slices.Sorted(maps.Keys(used)) {
		if !explained[m] {
			bad = append(bad, fmt.Sprintf("docs/dependencies.md: no line says why %s imports `%s`", used[m], m))
		}
	}
	for _, m := range slices.Sorted(maps.Keys(explained)) {
		if slices.Contains(required, m) && used[m] == "" {
			bad = append(bad, fmt.Sprintf("docs/dependencies.md: nothing imports `%s`", m))
		}
	}
	return bad
}

// requirements returns the modules that a go.mod requires.
func requirements(gomod string) []string {
	var out []string
	block := false
	for line := range strings.Lines(gomod) {
		f := strings.Fields(line)
		switch {
		case len(f) == 0:
		case f[0] == "require" && len(f) == 2 && f[1] == "(":
			block = true
		case f[0] == ")":
			block = false
		case f[0] == "require" && len(f) >= 3:
			out = append(out, f[1])
		case block && len(f) >= 2:
			out = append(out, f[0])
		}
	}
	return out
}

// moduleOf returns the module that has a package: the longest that matches.
func moduleOf(path string, modules []string) string {
	best := ""
	for _, m := range modules {
		if under(path, m+"/...") && len(m) > len(best) {
			best = m
		}
	}
	return best
}
