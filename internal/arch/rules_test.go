package arch

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// small is a house with every kind of rule.
const small = `
NONE < fault, internal/mutant, shop/witness/...;
fault, internal/mutant
< store, broker;
store < argosy, store/sqlite;
store < store/storetest;
argosy < shop/order, shop/cart;
store/storetest < e2e/...;
kit store/storetest
alone shop/witness/...
outside shop/...
third google.golang.org/grpc in *
third modernc.org/sqlite in store/sqlite
third modernc.org/sqlite/vfs in NONE
module bench
`

// Each case is a file, or more, and the one complaint that it must cause; an
// empty complaint means that all is well.
func TestImportRules(t *testing.T) {
	const ours = "github.com/argosy-go/argosy"
	for name, c := range map[string]struct {
		path    string
		imports string
		want    string
	}{
		"a room may import what is below it":              {"store/a.go", ours + "/fault", ""},
		"what is below reaches through the arrows":        {"shop/order/a.go", ours + "/fault", ""},
		"a complaint names file, line and rule":           {"fault/a.go", ours + "/store", "fault/a.go:2: imports " + ours + "/store: fault may not import store (layers.txt:2)"},
		"a room may not import its neighbour":             {"store/a.go", ours + "/broker", "store may not import broker (layers.txt:4)"},
		"an import of the root is judged":                 {"store/a.go", ours, "store may not import argosy"},
		"the root may not import an adapter":              {"main.go", ours + "/store/sqlite", "argosy may not import store/sqlite"},
		"services of the shop do not meet":                {"shop/order/a.go", ours + "/shop/cart", "shop/order may not import shop/cart"},
		"a package without a room is found":               {"util/a.go", "", `package "util" has no room`},
		"an import without a room is found":               {"store/a.go", ours + "/nowhere", `package "nowhere" has no room`},
		"a child of a room is not in it":                  {"store/mysql/a.go", "", `package "store/mysql" has no room`},
		"an internal child belongs to its parent":         {"store/internal/row/a.go", ours + "/fault", ""},
		"an internal child keeps to its parent's layer":   {"store/internal/row/a.go", ours + "/broker", "store may not import broker"},
		"a witness imports nothing of ours":               {"shop/witness/bank/a.go", ours + "/fault", "stands alone"},
		"not even a witness's test does":                  {"shop/witness/bank/a_test.go", ours + "/fault", "stands alone"},
		"a witness imports the witness next to it":        {"shop/witness/bank/a.go", ours + "/shop/witness/ledger", ""},
		"the shop uses nothing internal":                  {"shop/order/a.go", ours + "/internal/mutant", "public packages only"},
		"a test of the shop uses nothing internal either": {"shop/order/a_test.go", ours + "/internal/mutant", "public packages only"},
		"a test may import upwards":                       {"store/a_test.go", ours + "/store/sqlite", ""},
		"a test may import a kit":                         {"store/sqlite/a_test.go", ours + "/store/storetest", ""},
		"e2e may import a kit":                            {"e2e/a.go", ours + "/store/storetest", ""},
		"nothing else may import a kit":                   {"argosy.go", ours + "/store/storetest", "is a test kit"},
		"a driver is used in its adapter":                 {"store/sqlite/a.go", "modernc.org/sqlite", ""},
		"a driver is used nowhere else":                   {"store/a.go", "modernc.org/sqlite/lib", "only store/sqlite may import"},
		"the longest rule holds":                          {"store/sqlite/a.go", "modernc.org/sqlite/vfs", "only NONE may import"},
		"a rule is not for a longer name":                 {"store/sqlite/a.go", "modernc.org/sqlite2", "names it"},
		"a module that no line names is refused":          {"store/a.go", "example.com/new", "names it"},
		"a star is for all":                               {"store/a.go", "google.golang.org/grpc/codes", ""},
		"a test may use any module":                       {"store/a_test.go", "example.com/new", ""},
		"the standard library is everybody's":             {"fault/a.go", "net/http", ""},
		"cgo is refused":                                  {"store/a.go", "C", "without cgo"},
	} {
		t.Run(name, func(t *testing.T) {
			text := "package p\n"
			if c.imports != "" {
				text += "import _ \"" + c.imports + "\"\n"
			}
			tr, err := readTree(fstest.MapFS{c.path: {Data: []byte(text)}})
			if err != nil {
				t.Fatal(err)
			}
			expect(t, checkImports(tr, layersOf(t, small)), c.want)
		})
	}
}

func TestAModuleOfItsOwnMustBeNamed(t *testing.T) {
	tr, err := readTree(fstest.MapFS{
		"bench/go.mod": {}, "bench/a.go": {Data: []byte("not Go")},
		"store/extra/go.mod": {}, "store/testdata/a.go": {Data: []byte("not Go")},
	})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, checkImports(tr, layersOf(t, small)), `store/extra/go.mod: module "store/extra" is not named`)
}

func TestLayersThatMakeNoSenseAreRefused(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"a room twice":            {"NONE < a;\nNONE < a;", "layers.txt:2: room \"a\" is declared on line 1 already"},
		"a room before its line":  {"b < a;", `room "b" is used before`},
		"no arrow":                {"a, b;", "want one <"},
		"two arrows":              {"NONE < a < b;", "want one <"},
		"an order without an end": {"NONE < a", "has no semicolon"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readLayers(strings.NewReader(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestManners(t *testing.T) {
	const head = "// Package p is one.\npackage p\n"
	for name, c := range map[string]struct{ path, text, want string }{
		"a good file":                              {"p/a.go", head + "// A is.\ntype A int\n// B does.\nfunc (*A) B() {}\nfunc c() {}", ""},
		"a package without a comment":              {"p/a.go", "package p\n", "has no package comment"},
		"a package comment in a test is none":      {"p/a_test.go", head, "has no package comment"},
		"an init function":                         {"p/a.go", head + "func init() {}", "runs on import"},
		"the balancer registers":                   {"rpc/balance.go", head + "func init() {}", ""},
		"nothing else of its package does":         {"rpc/other.go", head + "func init() {}", "runs on import"},
		"an exported function":                     {"p/a.go", head + "func A() {}", "p/a.go:3: A has no doc comment"},
		"an exported method":                       {"p/a.go", head + "// T is.\ntype T[K any] int\nfunc (*T[K]) A() {}", "A has no doc comment"},
		"a method of a type that nobody sees":      {"p/a.go", head + "type t int\nfunc (t) A() {}", ""},
		"an exported type":                         {"p/a.go", head + "type A int", "A has no doc comment"},
		"an exported constant":                     {"p/a.go", head + "const A = 1", "A has no doc comment"},
		"constants under one comment":              {"p/a.go", head + "// All.\nconst (\n\tA = 1\n\tB = 2\n)", ""},
		"a constant with its comment behind":       {"p/a.go", head + "const (\n\tA = 1 // one\n)", ""},
		"a variable without a value":               {"p/a.go", head + "var count int", "variable count has no value"},
		"a variable that the compiler fills":       {"p/a.go", head + "//go:embed x\nvar text string", ""},
		"an assertion":                             {"p/a.go", head + "var _ int", ""},
		"generated code has no manners":            {"p/a.go", "// Code generated by x. DO NOT EDIT.\n\n" + head + "func init() {}\nfunc A() {}", ""},
		"a long function":                          {"p/a.go", head + "func c() {" + strings.Repeat("\n", maxFunction+2) + "}", "c has 61 lines"},
		"a function of the right length":           {"p/a.go", head + "func c() {" + strings.Repeat("\n", maxFunction+1) + "}", ""},
		"a promise":                                {"p/a.go", head + "// TO" + "DO: later.\nfunc c() {}", "p/a.go:3: TO" + "DO: do it"},
		"a folder called util":                     {"util/a.go", head, `a folder named "util"`},
		"a folder under one called common":         {"common/x/a.go", head, `a folder named "common"`},
		"a long file":                              {"p/a.go", head + strings.Repeat("\n", maxLines), "lines: split the file"},
		"a long file with a reason":                {"p/a.go", "// Long file: it is a table.\n\n" + head + strings.Repeat("\n", maxLines), ""},
		"a long file with its reason too far down": {"p/a.go", head + "func c() {}\n// Long file: late.\n" + strings.Repeat("\n", maxLines), "lines: split the file"},
	} {
		t.Run(name, func(t *testing.T) {
			tr, err := readTree(fstest.MapFS{c.path: {Data: []byte(c.text)}})
			if err != nil {
				t.Fatal(err)
			}
			expect(t, checkManners(tr), c.want)
		})
	}
}

func TestCalls(t *testing.T) {
	for name, c := range map[string]struct{ path, text, want string }{
		"a library reads the environment":         {"store/a.go", `package p; import "os"; var _ = os.Getenv("X")`, "store/a.go:1: os.Getenv: libraries never"},
		"a library does it under another name":    {"store/a.go", `package p; import system "os"; var _ = system.Getenv("X")`, "libraries never"},
		"a function of that name of one's own":    {"store/a.go", `package p; func f() { os.Getenv("X") }`, ""},
		"a main reads the environment":            {"e2e/x/a.go", `package main; import "os"; var _ = os.Getenv("X")`, ""},
		"a test reads the environment":            {"store/a_test.go", `package p; import "os"; var _ = os.Getenv("X")`, ""},
		"a room that may":                         {"internal/mutant/a.go", `package p; import "os"; var _ = os.Getenv("X")`, ""},
		"a library ends the process":              {"store/a.go", `package p; import "os"; func f() { os.Exit(1) }`, "only a main"},
		"a test sleeps":                           {"store/a_test.go", `package p; import "time"; func f() { time.Sleep(1) }`, "testing/synctest"},
		"a test is left out":                      {"store/a_test.go", `package p; import "testing"; func TestX(t *testing.T) { t.Skip() }`, "loudly"},
		"a test sets the default logger":          {"store/a_test.go", `package p; import "log/slog"; func f() { slog.SetDefault(nil) }`, "global"},
		"generated code does as it likes":         {"store/a.go", "// Code generated by x. DO NOT EDIT.\n\npackage p; import \"os\"; var _ = os.Getenv(\"X\")", ""},
		"a registry of one's own is a good thing": {"store/a.go", `package p; import "github.com/prometheus/client_golang/prometheus"; func f(r *prometheus.Registry) { r.MustRegister() }`, ""},
		"the registry of the process is not":      {"store/a.go", `package p; import "github.com/prometheus/client_golang/prometheus"; func f() { prometheus.MustRegister() }`, "global"},
	} {
		t.Run(name, func(t *testing.T) {
			tr, err := readTree(fstest.MapFS{c.path: {Data: []byte(c.text)}})
			if err != nil {
				t.Fatal(err)
			}
			expect(t, checkCalls(tr, layersOf(t, small)), c.want)
		})
	}
}

func TestDependencies(t *testing.T) {
	const gomod = "module m\nrequire example.com/one v1.0.0\nrequire (\n\texample.com/one/sub v1.0.0\n\texample.com/two v1.0.0 // indirect\n)\n"
	for name, c := range map[string]struct{ imports, doc, want string }{
		"explained":                        {"example.com/one/x", "- `example.com/one`: why\n", ""},
		"explained in a table":             {"example.com/one/x", "| `example.com/one` | why |\n", ""},
		"not explained":                    {"example.com/one/x", "", "no line says why a.go imports `example.com/one`"},
		"the longest module is meant":      {"example.com/one/sub/x", "- `example.com/one/sub`: why\n", ""},
		"an indirect one that is imported": {"example.com/two", "", "imports `example.com/two`"},
		"a line without a use":             {"fmt", "- `example.com/one`: why\n", "nothing imports `example.com/one`"},
		"no module has it":                 {"example.org/x", "", "no module of go.mod has example.org/x"},
	} {
		t.Run(name, func(t *testing.T) {
			tr, err := readTree(fstest.MapFS{"a.go": {Data: []byte("package a\nimport _ \"" + c.imports + "\"\n")}})
			if err != nil {
				t.Fatal(err)
			}
			expect(t, checkDependencies(tr, gomod, c.doc), c.want)
		})
	}
}

// expect fails unless bad is the one complaint that holds want, or empty when
// want is.
func expect(t *testing.T, bad []string, want string) {
	t.Helper()
	switch {
	case want == "" && len(bad) > 0:
		t.Fatalf("complains without a reason: %q", bad)
	case want != "" && len(bad) != 1:
		t.Fatalf("got %q, want one complaint with %q", bad, want)
	case want != "" && !slices.ContainsFunc(bad, func(b string) bool { return strings.Contains(b, want) }):
		t.Fatalf("got %q, want %q", bad, want)
	}
}
