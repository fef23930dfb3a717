// Package clients holds what calls a service of Argosy without knowing of
// Argosy: grpcurl and Node's @grpc/grpc-js. Its tests run them. The package is
// a module of its own, so that grpcurl does not come with Argosy; see
// docs/guide/clients.md.
package clients
