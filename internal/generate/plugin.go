package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

// plugin is a tool of this module's go.mod that writes Go.
type plugin struct {
	name string
	from string // the folder of the contracts that it is for; empty: all
}

// plugins are what is run. The tests of package rest compare it with a
// grpc-gateway.
var plugins = []plugin{
	{name: "protoc-gen-go"},
	{name: "protoc-gen-go-grpc"},
	{name: "protoc-gen-grpc-gateway", from: "rest/internal/testpb/"},
}

// runPlugins returns what the plugins make of the contracts, by path from the
// root of the repository.
func runPlugins(ctx context.Context, root string, sources []source, set *descriptorpb.FileDescriptorSet) (map[string][]byte, error) {
	responses := make([]*pluginpb.CodeGeneratorResponse, len(plugins))
	g, ctx := errgroup.WithContext(ctx)
	for i, p := range plugins {
		request := &pluginpb.CodeGeneratorRequest{Parameter: proto.String("module=" + module), ProtoFile: set.File}
		for _, s := range sources {
			if strings.HasPrefix(s.path, p.from) {
				request.FileToGenerate = append(request.FileToGenerate, s.name)
			}
		}
		if len(request.FileToGenerate) == 0 {
			continue
		}
		g.Go(func() (err error) {
			responses[i], err = runPlugin(ctx, root, p.name, request)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	for i, r := range responses {
		for _, f := range r.GetFile() {
			if _, ok := out[f.GetName()]; ok {
				return nil, fmt.Errorf("%s: %s is written twice", plugins[i].name, f.GetName())
			}
			out[f.GetName()] = []byte(f.GetContent())
		}
	}
	return out, nil
}

func runPlugin(ctx context.Context, root, name string, request *pluginpb.CodeGeneratorRequest) (*pluginpb.CodeGeneratorResponse, error) {
	input, err := proto.MarshalOptions{Deterministic: true}.Marshal(request)
	if err != nil {
		return nil, err
	}
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
