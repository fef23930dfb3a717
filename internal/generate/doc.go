// Command generate compiles every contract of the repository and writes the Go
// code and the OpenAPI documents that follow from them:
//
//	go run -C internal/generate .           # write
//	go run -C internal/generate . -check    # list what differs, exit 1 if anything does
//
// The order of things:
//
//	find       every .proto file of the main module, each with its import path
//	compile    in this process; imports resolve from the contracts found and
//	           from the descriptors linked into this program, so nothing is
//	           vendored and no registry is asked
//	generate   protoc-gen-go and protoc-gen-go-grpc, as plugins, at the
//	           versions of this module's go.mod; for the tests of package rest
//	           also protoc-gen-grpc-gateway, whose result they compare with
//	document   OpenAPI, from the same descriptors, comments included
//	compare    with the tree: what is new or changed is written, generated
//	           code whose contract is gone is removed
//
// The output depends on the contracts and on go.mod alone, byte for byte. This
// is a module of its own, so that compiler and plugins stay out of the go.mod
// of Argosy's users.
package main
