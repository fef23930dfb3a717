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
//	fallback, its answer marked              refuse when the deadline has passed
//	one idempotency key for all attempts     refuse what is too much, by criticality
//	span, trace context                      authenticate, quota, authorize by the contract
//	retry with budget, or hedge (guard)      idempotency key
//	bulkhead, breaker, limit, attempt's time handler, under the contract's deadline
//	endpoint of the balancer, transport      errors as google.rpc.Status
//
// A connection over the network has one connection to each endpoint of its
// target and picks one for each call: the less busy of two drawn at random, not
// one that was ejected, a new one at first seldom. What it does when endpoints
// come, go, break and fail:
//
//	comes           connected to at once; its share grows for 3 s
//	goes            no new calls; those under way end
//	breaks          no calls from that moment; again after a random pause, up to
//	                100 ms first and 2 s at last; the discovery is asked to look
//	fails           out after 5 failures in a row, or when it fails far more than
//	                the others; for 5 s first, at most half of them at once
//	all fail        all are called
//	discovery fails what is known stays
package rpc
