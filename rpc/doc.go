// Package rpc carries calls between services: straight to the handler in the
// same process, or over gRPC, with the same chain of checks, the same errors
// and the same limits, so that a caller cannot tell the difference.
//
// A server is registered once and reached both ways:
//
//	srv := rpc.NewServer(rpc.ServerConfig{})
//	err := srv.Register("inventory", &inventorypb.Inventory_ServiceDesc, impl)
//	near := srv.Conn(rpc.ConnOptions{})       // a grpc.ClientConnInterface
//	err = srv.Serve(listener)                 // gRPC, with health and reflection
//
// What happens to a call, in order:
//
//	client                                   server
//	refuse inside a transaction              recover from a panic
//	total deadline of the contract           span, metrics, one log line for a fault
//	one idempotency key for all attempts     refuse when the deadline has passed
//	span, trace context                      refuse what is too much
//	retry with budget, breaker (guard)       authenticate, authorize by the contract
//	transport                                idempotency key
//	                                         handler, under the contract's deadline
//	                                         errors as google.rpc.Status
package rpc
