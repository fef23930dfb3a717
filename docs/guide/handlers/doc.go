// Package handlers shows how what a team has already moves into an Argosy
// service as it is: HTTP handlers of Gin, Echo, chi and net/http, and gRPC
// servers, plain ones and those built with Go kit.
//
// An HTTP handler is mounted, and keeps its routes, middlewares and answers:
//
//	s.Handle("/legacy/", ginEngine)
//
// It is served on the fleet's HTTP edge beside the routes of the contracts.
// Round it are a span that goes on with the caller's trace, a limit of the
// body, an answer for a panic, and the drain: what is under way when the
// program stops is answered first. With [service.SignedIn] or [service.Roles]
// it is for callers who hold a token of the fleet, and finds them by auth.From.
//
// A gRPC server is registered as on a grpc.Server, since a Setup is a
// grpc.ServiceRegistrar:
//
//	pb.RegisterGreeterServer(s, existing)
//
// It is then served over gRPC, over REST if its contract has routes, and in the
// process, with deadlines, access rules, telemetry and limits round it. What
// its contract does not say is as strict as can be: a method without an access
// rule is for authenticated callers.
//
// The package is a module of its own, so that no framework comes with Argosy.
package handlers
