package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

// plugins are the tools of this module's go.mod that write Go.
var plugins = []string{"protoc-gen-go", "protoc-gen-go-grpc"}

// runPlugins returns what the plugins make of the contracts, by path from the
// root of the repository.
func runPlugins(ctx context.Context, root string, sources []source, set *descriptorpb.FileDescriptorSet) (map[string][]byte, error) {
	request := &pluginpb.CodeGeneratorRequest{
		Parameter: proto.String("module=" + module),
		ProtoFile: set.File,
	}
	for _, s := range sources {
		request.FileToGenerate = append(request.FileToGenerate, s.name)
	}
	input, err := proto.MarshalOptions{Deterministic: true}.Marshal(request)
	if err != nil {
		return nil, err
	}
	responses := make([]*pluginpb.CodeGeneratorResponse, len(plugins))
	g, ctx := errgroup.WithContext(ctx)
	for i, name := range plugins {
		g.Go(func() error {
			r, err := runPlugin(ctx, root, name, input)
			responses[i] = r
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	for i, r := range responses {
		for _, f := range r.File {
			if _, ok := out[f.GetName()]; ok {
				return nil, fmt.Errorf("%s: %s is written twice", plugins[i], f.GetName())
			}
			out[f.GetName()] = []byte(f.GetContent())
		}
	}
	return out, nil
}

func runPlugin(ctx context.Context, root, name string, input []byte) (*pluginpb.CodeGeneratorResponse, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", "tool", name)
	cmd.Dir = filepath.Join(root, "internal", "generate")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", name, err, stderr.Bytes())
	}
	r := &pluginpb.CodeGeneratorResponse{}
	if err := proto.Unmarshal(stdout.Bytes(), r); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if r.Error != nil {
		return nil, fmt.Errorf("%s: %s", name, r.GetError())
	}
	return r, nil
}
