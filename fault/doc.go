// Package fault is the one error type that crosses service boundaries, and the
// one table that says what it looks like on each of them: a
// google.rpc.Status on gRPC, a problem document (RFC 9457) on HTTP, headers on
// an event. Every mapping goes both ways and loses nothing that a caller may see.
//
// The shortest program:
//
//	func (s *server) GetOrder(ctx context.Context, r *pb.GetOrderRequest) (*pb.Order, error) {
//		return nil, fault.New(codes.NotFound, "ORDER_NOT_FOUND", "order %q does not exist", r.Id)
//	}
//
// A caller sees code, reason, message, details, the retry hint and the service
// that raised the error. The cause given to [Error.Wrap] stays with us: it is
// for logs, and [errors.Is] and [errors.As] find it.
package fault
