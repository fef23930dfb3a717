package breaking

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/reporter"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	// What contracts may import besides each other.
	_ "google.golang.org/genproto/googleapis/api/annotations"
	_ "google.golang.org/genproto/googleapis/api/httpbody"
	_ "google.golang.org/genproto/googleapis/rpc/code"
	_ "google.golang.org/genproto/googleapis/rpc/errdetails"
	_ "google.golang.org/genproto/googleapis/rpc/status"
	_ "google.golang.org/protobuf/types/known/anypb"
	_ "google.golang.org/protobuf/types/known/durationpb"
	_ "google.golang.org/protobuf/types/known/emptypb"
	_ "google.golang.org/protobuf/types/known/fieldmaskpb"
	_ "google.golang.org/protobuf/types/known/structpb"
	_ "google.golang.org/protobuf/types/known/timestamppb"
	_ "google.golang.org/protobuf/types/known/wrapperspb"

	_ "github.com/argosy-go/argosy/proto/argosy/v1"
)

// Contracts are those of a tree, compiled.
type Contracts struct {
	files []protoreflect.FileDescriptor
	paths map[string]string // in the tree, by the name that others import
}

// Compile compiles the contracts of a tree. An error names the file, the line
// and the column. What is imported is looked for in the tree, under more, and
// among what Argosy itself is linked with: google.api, google.rpc,
// google.protobuf and argosy.v1.
func Compile(ctx context.Context, t Tree, more ...Tree) (*Contracts, error) {
	names := importNames(t)
	c := &Contracts{paths: map[string]string{}}
	texts := map[string][]byte{}
	for _, m := range more {
		maps.Copy(texts, m)
	}
	for p, name := range names {
		texts[name] = t[p]
		c.paths[name] = p
	}
	var problems []error
	report := func(err reporter.ErrorWithPos) error {
		pos := err.GetPosition()
		if p, ok := c.paths[pos.Filename]; ok {
			pos.Filename = p
		}
		problems = append(problems, fmt.Errorf("%s:%d:%d: %w", pos.Filename, pos.Line, pos.Col, err.Unwrap()))
		return nil
	}
	compiler := protocompile.Compiler{
		Resolver: protocompile.ResolverFunc(func(name string) (protocompile.SearchResult, error) {
			if text, ok := texts[name]; ok {
				return protocompile.SearchResult{Source: bytes.NewReader(text)}, nil
			}
			d, err := protoregistry.GlobalFiles.FindFileByPath(name)
			if err != nil {
				return protocompile.SearchResult{}, fmt.Errorf("%s is not in the repository: name the folder that it is in by --proto-path", name)
			}
			return protocompile.SearchResult{Desc: d}, nil
		}),
		Reporter: reporter.NewReporter(report, nil),
	}
	files, err := compiler.Compile(ctx, slices.Sorted(maps.Keys(c.paths))...)
	if unreported, ok := errors.AsType[reporter.ErrorWithPos](err); ok && len(problems) == 0 {
		_ = report(unreported) // a missing import comes back alone
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		c.files = append(c.files, f)
	}
	return c, nil
}

var (
	imports     = regexp.MustCompile(`\bimport\s+(?:public\s+|weak\s+)?"([^"]+)"\s*;`)
	packageName = regexp.MustCompile(`\bpackage\s+([\w.]+)\s*;`)
)

// importNames returns the name of each contract by its path, as others import
// it. A repository does not say where its import paths begin: it shows in what
// is imported, or in the package, whose folders a path ends with by convention.
func importNames(t Tree) map[string]string {
	wanted := map[string]bool{}
	for _, text := range t {
		for _, m := range imports.FindAllSubmatch(text, -1) {
			wanted[string(m[1])] = true
		}
	}
	names, taken := map[string]string{}, map[string]string{}
	for _, p := range slices.Sorted(maps.Keys(t)) {
		name := p
		if m := packageName.FindSubmatch(t[p]); m != nil {
			if end := path.Join(strings.ReplaceAll(string(m[1]), ".", "/"), path.Base(p)); strings.HasSuffix("/"+p, "/"+end) {
				name = end
			}
		}
		for at := p; !wanted[name]; { // the longest ending that somebody imports
			if wanted[at] {
				name = at
				break
			}
			_, rest, more := strings.Cut(at, "/")
			if !more {
				break
			}
			at = rest
		}
		if taken[name] != "" {
			name = p
		}
		names[p], taken[name] = name, p
	}
	return names
}

// path returns where a declaration is in the tree.
func (c *Contracts) path(d protoreflect.Descriptor) string {
	name := d.ParentFile().Path()
	if p, ok := c.paths[name]; ok {
		return p
	}
	return name
}

// option returns an extension of the options of a declaration, or its default
// where it is not set. The compiler knows the options by other types.
func option[T any](d protoreflect.Descriptor, ext protoreflect.ExtensionType) T {
	var none T
	from, ok := d.Options().(proto.Message)
	if !ok || !from.ProtoReflect().IsValid() {
		return none
	}
	b, err := proto.Marshal(from)
	if err != nil {
		return none
	}
	to := ext.TypeDescriptor().ContainingMessage()
	m, err := protoregistry.GlobalTypes.FindMessageByName(to.FullName())
	if err != nil {
		return none
	}
	typed := m.New().Interface()
	if err := proto.Unmarshal(b, typed); err != nil || !proto.HasExtension(typed, ext) {
		return none
	}
	v, _ := proto.GetExtension(typed, ext).(T)
	return v
}
