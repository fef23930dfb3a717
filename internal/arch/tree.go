package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// tree is the source of the main module.
type tree struct {
	fset    *token.FileSet
	files   []*file
	modules []string // folders with a go.mod of their own
}

// file is one Go file.
type file struct {
	path      string // from the root of the repository
	pkg       string // its package's path from the root of the module; "" is the root
	test      bool
	generated bool
	lines     int
	syntax    *ast.File
	imports   []imported
}

// imported is one import of a file.
type imported struct {
	path string
	line int
}

// readTree parses every Go file of the main module, whatever its build tags.
func readTree(root fs.FS) (*tree, error) {
	t := &tree{fset: token.NewFileSet()}
	err := fs.WalkDir(root, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return t.enter(root, p, d.Name())
		}
		if path.Ext(p) != ".go" {
			return nil
		}
		text, err := fs.ReadFile(root, p)
		if err != nil {
			return err
		}
		f, err := t.parse(p, text)
		t.files = append(t.files, f)
		return err
	})
	return t, err
}

// enter says whether a folder is part of the module.
func (t *tree) enter(root fs.FS, p, name string) error {
	if p == "." {
		return nil
	}
	if name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
		return fs.SkipDir
	}
	if _, err := fs.Stat(root, path.Join(p, "go.mod")); err == nil {
		t.modules = append(t.modules, p)
		return fs.SkipDir
	}
	return nil
}

func (t *tree) parse(p string, text []byte) (*file, error) {
	syntax, err := parser.ParseFile(t.fset, p, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	f := &file{
		path: p, pkg: path.Dir(p), test: strings.HasSuffix(p, "_test.go"),
		generated: ast.IsGenerated(syntax), lines: strings.Count(string(text), "\n"), syntax: syntax,
	}
	if f.pkg == "." {
		f.pkg = ""
	}
	for _, i := range syntax.Imports {
		name, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		f.imports = append(f.imports, imported{name, t.line(i)})
	}
	return f, nil
}

func (t *tree) line(n ast.Node) int { return t.fset.Position(n.Pos()).Line }

// bodyLines returns how many lines a function has between its braces.
func (t *tree) bodyLines(d *ast.FuncDecl) int {
	if d.Body == nil {
		return 0
	}
	return max(0, t.fset.Position(d.Body.Rbrace).Line-t.fset.Position(d.Body.Lbrace).Line-1)
}
