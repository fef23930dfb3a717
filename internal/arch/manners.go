package arch

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strings"
)

// maxLines is how long a file is without a word.
const maxLines = 600

// maxFunction is how many lines a function has between its braces.
const maxFunction = 60

// longFile begins the comment that gives the reason for a long file.
const longFile = "// Long file: "

// registersBalancer is the one file that may have an init function: grpc-go
// finds balancers in a registry that may be written during initialization only.
const registersBalancer = "rpc/balance.go"

// emptyNames are names of folders that say nothing of what is inside.
var emptyNames = []string{
	"base", "common", "contrib", "core", "helper", "helpers", "interfaces", "lib", "misc", "mocks", "models",
	"pkg", "scripts", "shared", "src", "third_party", "tools", "types", "util", "utils",
}

// checkManners returns where written files break the rules that are not about imports.
func checkManners(t *tree) []string {
	var bad []string
	described := map[string]bool{}
	for _, f := range t.files {
		if f.syntax.Doc != nil && !f.test {
			described[f.pkg] = true
		}
	}
	told := map[string]bool{}
	for _, f := range t.files {
		if f.generated {
			continue
		}
		complain := func(n ast.Node, format string, args ...any) {
			bad = append(bad, fmt.Sprintf("%s:%d: %s", f.path, t.line(n), fmt.Sprintf(format, args...)))
		}
		if !told[f.pkg] {
			told[f.pkg] = true
			for name := range strings.SplitSeq(f.pkg, "/") {
				if slices.Contains(emptyNames, name) {
					complain(f.syntax.Name, "a folder named %q says nothing of what is in it", name)
				}
			}
			if !described[f.pkg] {
				complain(f.syntax.Name, "package %s has no package comment", path.Join(module, f.pkg))
			}
		}
		if f.lines > maxLines && !hasReason(f) {
			complain(f.syntax.Name, "%d lines: split the file, or begin it with a comment %q and why", f.lines, longFile)
		}
		checkComments(f, complain)
		if !f.test {
			checkDeclarations(t, f, complain)
		}
	}
	return bad
}

// promises are words that say that something is still to be done.
var promises = regexp.MustCompile(`\b(TODO|FIXME|XXX|HACK)\b`)

func checkComments(f *file, complain func(ast.Node, string, ...any)) {
	for _, g := range f.syntax.Comments {
		for _, c := range g.List {
			if word := promises.FindString(c.Text); word != "" {
				complain(c, "%s: do it, or write an issue", word)
			}
		}
	}
}

// hasReason reports whether a file says, before its first declaration, why it is long.
func hasReason(f *file) bool {
	for _, g := range f.syntax.Comments {
		if len(f.syntax.Decls) > 0 && g.Pos() > f.syntax.Decls[0].Pos() {
			break
		}
		for _, c := range g.List {
			if strings.HasPrefix(c.Text, longFile) {
				return true
			}
		}
	}
	return false
}

func checkDeclarations(t *tree, f *file, complain func(ast.Node, string, ...any)) {
	for _, d := range f.syntax.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil && d.Name.Name == "init" && f.path != registersBalancer {
				complain(d, "an init function runs on import: pass values instead")
			}
			if n := t.bodyLines(d); n > maxFunction {
				complain(d, "%s has %d lines: split it, %d is the limit", d.Name.Name, n, maxFunction)
			}
			if d.Doc == nil && d.Name.IsExported() && ast.IsExported(receiver(d)) {
				complain(d, "%s has no doc comment", d.Name.Name)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				checkSpec(d, s, complain)
			}
		}
	}
}

func checkSpec(d *ast.GenDecl, s ast.Spec, complain func(ast.Node, string, ...any)) {
	switch s := s.(type) {
	case *ast.TypeSpec:
		if s.Name.IsExported() && s.Doc == nil && d.Doc == nil {
			complain(s, "%s has no doc comment", s.Name.Name)
		}
	case *ast.ValueSpec:
		for _, name := range s.Names {
			if name.IsExported() && s.Doc == nil && s.Comment == nil && d.Doc == nil {
				complain(s, "%s has no doc comment", name.Name)
			}
			if d.Tok == token.VAR && len(s.Values) == 0 && name.Name != "_" && !embeds(d, s) {
				complain(s, "variable %s has no value: a package keeps no state", name.Name)
			}
		}
	}
}

// embeds reports whether a variable is filled by the compiler.
func embeds(d *ast.GenDecl, s *ast.ValueSpec) bool {
	for _, g := range []*ast.CommentGroup{d.Doc, s.Doc} {
		if g == nil {
			continue
		}
		for _, c := range g.List {
			if strings.HasPrefix(c.Text, "//go:embed ") {
				return true
			}
		}
	}
	return false
}

// receiver returns the name of a method's type, and of a function "Func", so
// that it counts as exported.
func receiver(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return "Func"
	}
	t := d.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}
