// Command bench measures a call of Argosy beside the bare thing: unary calls
// and streams over gRPC beside grpc-go with no options at all and beside kratos
// with the middlewares of its documentation, and REST beside net/http with
// encoding/json and with protojson.
//
//	go run -C bench .
//
// Argosy runs as a program does, through [argosy.Run] and with every default:
// deadline, trace, metrics, token, access rule, guards and limits on both
// sides. The bare sides have none of that; "bare+headers" sends the deadline and
// the metadata that a call of Argosy has, and does nothing with them. What is
// served is a contract of the shop with a handler that does nothing, so that the
// difference is the path. Over TLS both sides have the same certificates, and
// check them in the same way.
//
// Servers and clients are processes of their own, so that each has its own
// processor time (user and system, getrusage(2)) and its own allocations. One
// pair works at a time, for a slice of a second, and the sides take turns within
// a round: what disturbs the machine disturbs all of them. All processes are
// started anew every few rounds. A ratio is the median of the ratios of the
// rounds.
//
// Argosy collects a small heap less often than Go does by default. With GOGC in
// the environment all sides have that, so that the rest can be seen:
//
//	GOGC=400 go run -C bench . -only unary
//
// It is a module of its own, so that no peer comes with Argosy.
package main
