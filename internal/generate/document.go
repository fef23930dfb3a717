package main

import (
	"bytes"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/argosy-go/argosy/rest/openapi"
)

// document is an OpenAPI document of all contracts under a folder.
type document struct {
	from, path string
	info       openapi.Info
}

// documents are what is written besides Go.
var documents = []document{{
	from: "shop/proto/", path: "shop/gen/openapi.json",
	info: openapi.Info{
		Title: "Argosy shop", Version: "v1", License: "Apache-2.0",
		Contact: "Argosy", ContactURL: "https://github.com/argosy-go/argosy",
		Description: "An order-fulfilment system built on Argosy: sign in, look for products, place an order, watch it being paid and shipped.",
	},
}}

// addDocuments adds the OpenAPI documents to out.
func addDocuments(out map[string][]byte, sources []source, set *descriptorpb.FileDescriptorSet) error {
	files, err := typed(set)
	if err != nil {
		return err
	}
	for _, d := range documents {
		var described []protoreflect.FileDescriptor
		for _, s := range sources {
			if !strings.HasPrefix(s.path, d.from) {
				continue
			}
			f, err := files.FindFileByPath(s.name)
			if err != nil {
				return err
			}
			described = append(described, f)
		}
		text, err := openapi.Generate(described, d.info)
		if err != nil {
			return fmt.Errorf("%s: %w", d.path, err)
		}
		if text != nil {
			out[d.path] = append(bytes.TrimRight(text, "\n"), '\n')
		}
	}
	return nil
}

// finder finds a file by the path that it is imported with.
type finder interface {
	FindFileByPath(string) (protoreflect.FileDescriptor, error)
}

// typed returns the files with their options as Go knows them: the compiler
// leaves those of other contracts in a form of its own, which
// proto.GetExtension does not see.
func typed(set *descriptorpb.FileDescriptorSet) (finder, error) {
	wire, err := proto.MarshalOptions{Deterministic: true}.Marshal(set)
	if err != nil {
		return nil, err
	}
	known := &descriptorpb.FileDescriptorSet{}
	if err := proto.Unmarshal(wire, known); err != nil {
		return nil, err
	}
	return protodesc.NewFiles(known)
}
