package arch

import (
	"fmt"
	"go/ast"
	"path"
	"slices"
	"strconv"
)

// refused is a name of another package that may be used in few places.
type refused struct {
	pkg, name string
	tests     bool     // refused in tests too; else only in what is not a test
	rooms     []string // where it may be used nevertheless
	main      bool     // package main may use it too
	why       string
}

const (
	whyEnvironment = "libraries never read the environment: take a value"
	whyGlobal      = "this changes or uses what is global to the process: take a value"
	whyExit        = "only a main decides that the process ends: return an error"
	whySleep       = "wait for a signal, or use testing/synctest"
	whySkip        = "a test that is left out must be left out loudly: see test.sh"
)

// refusals are the names. Mutants are chosen by a variable, the witnesses are
// programs of their own, and the root package is what reads settings.
var refusals = []refused{
	{pkg: "os", name: "Getenv", rooms: []string{"argosy", "argosytest", "internal/mutant", "internal/pgtest"}, main: true, why: whyEnvironment},
	{pkg: "os", name: "LookupEnv", rooms: []string{"argosy"}, main: true, why: whyEnvironment},
	{pkg: "os", name: "Environ", rooms: []string{"argosy", "shop/witness"}, main: true, why: whyEnvironment},
	{pkg: "os", name: "Exit", rooms: []string{"argosy"}, main: true, why: whyExit},
	{pkg: "log", name: "Fatal", why: whyExit},
	{pkg: "log", name: "Fatalf", why: whyExit},
	{pkg: "log/slog", name: "SetDefault", tests: true, why: whyGlobal},
	{pkg: "log/slog", name: "Default", why: whyGlobal},
	{pkg: "net/http", name: "DefaultServeMux", why: whyGlobal},
	{pkg: "net/http", name: "DefaultClient", rooms: []string{"shop/witness", "shop/witness/..."}, why: whyGlobal},
	{pkg: "net/http", name: "HandleFunc", why: whyGlobal},
	{pkg: "net/http", name: "Handle", why: whyGlobal},
	{pkg: "github.com/prometheus/client_golang/prometheus", name: "MustRegister", tests: true, why: whyGlobal},
	{pkg: "github.com/prometheus/client_golang/prometheus", name: "DefaultRegisterer", tests: true, why: whyGlobal},
	{pkg: "go.opentelemetry.io/otel", name: "SetTracerProvider", tests: true, why: whyGlobal},
	{pkg: "go.opentelemetry.io/otel", name: "GetTracerProvider", why: whyGlobal},
	{pkg: "time", name: "Sleep", tests: true, rooms: []string{"shop/witness/..."}, why: whySleep},
}

// checkCalls returns where a file uses a name that is refused there, or leaves
// a test out.
func checkCalls(t *tree, l *layers) []string {
	var bad []string
	for _, f := range t.files {
		if f.generated {
			continue
		}
		room, _ := l.roomOf(f.pkg)
		packages := localNames(f)
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := s.X.(*ast.Ident)
			if !ok {
				return true
			}
			if why := refuse(f, room, packages[x.Name], x.Name, s.Sel.Name); why != "" {
				bad = append(bad, fmt.Sprintf("%s:%d: %s.%s: %s", f.path, t.line(s), x.Name, s.Sel.Name, why))
			}
			return true
		})
	}
	return bad
}

// localNames returns the packages that a file imports, by the name that it
// calls them. A version at the end of a path is not the name.
func localNames(f *file) map[string]string {
	names := map[string]string{}
	for _, i := range f.syntax.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			continue // the parser has seen to it
		}
		name := path.Base(p)
		if i.Name != nil {
			name = i.Name.Name
		}
		names[name] = p
	}
	return names
}

// refuse says why a file may not use a name. Empty: it may.
func refuse(f *file, room, pkg, receiver, name string) string {
	if f.test && pkg == "" && slices.Contains([]string{"t", "b", "f", "tb"}, receiver) && slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, name) {
		return whySkip
	}
	for _, r := range refusals {
		switch {
		case r.pkg != pkg || r.name != name || f.test && !r.tests:
		case r.main && f.syntax.Name.Name == "main", underAny(room, r.rooms), underAny(f.pkg, r.rooms):
		default:
			return r.why
		}
	}
	return ""
}
