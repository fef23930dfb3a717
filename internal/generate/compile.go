package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"github.com/bufbuild/protocompile/protoutil"
	"github.com/bufbuild/protocompile/reporter"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

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
)

// compile returns the contracts and all that they import, each file after its
// imports, with comments. Every error names file:line:col, as an editor takes it.
func compile(ctx context.Context, sources []source) (*descriptorpb.FileDescriptorSet, error) {
	byName := map[string]source{}
	var names []string
	for _, s := range sources {
		byName[s.name] = s
		names = append(names, s.name)
	}
	var problems []error
	report := func(err reporter.ErrorWithPos) {
		pos := err.GetPosition()
		if s, ok := byName[pos.Filename]; ok {
			pos.Filename = s.path
		}
		problems = append(problems, fmt.Errorf("%s:%d:%d: %w", pos.Filename, pos.Line, pos.Col, err.Unwrap()))
	}
	compiler := protocompile.Compiler{
		Resolver: protocompile.ResolverFunc(func(name string) (protocompile.SearchResult, error) {
			if s, ok := byName[name]; ok {
				return protocompile.SearchResult{Source: bytes.NewReader(s.text)}, nil
			}
			d, err := protoregistry.GlobalFiles.FindFileByPath(name)
			if err != nil {
				return protocompile.SearchResult{}, err
			}
			return protocompile.SearchResult{Desc: d}, nil
		}),
		SourceInfoMode: protocompile.SourceInfoStandard,
		Reporter: reporter.NewReporter(
			func(err reporter.ErrorWithPos) error { report(err); return nil }, // go on: show all of them
			report, // a warning (an unused import) is as good as an error
		),
	}
	files, err := compiler.Compile(ctx, names...)
	var unreported reporter.ErrorWithPos // a missing import comes back alone
	if len(problems) == 0 && errors.As(err, &unreported) {
		report(unreported)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	if err != nil {
		return nil, err
	}
	return inOrder(files), nil
}

// inOrder returns the files and their imports, each file after its imports.
func inOrder(files linker.Files) *descriptorpb.FileDescriptorSet {
	set := &descriptorpb.FileDescriptorSet{}
	seen := map[string]bool{}
	var add func(protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i).FileDescriptor)
		}
		set.File = append(set.File, protoutil.ProtoFromFileDescriptor(f))
	}
	for _, f := range files {
		add(f)
	}
	return set
}
