// Package argosy runs fleets of small services. A service is a name and a
// function that declares what it serves, calls, publishes, consumes and runs;
// a fleet is any number of them, in one process with everything embedded, or
// in many. The shortest program:
//
//	var hello = argosy.Service{Name: "hello", Setup: func(s *argosy.Setup) error {
//		hellopb.RegisterHelloServer(s, &server{})
//		return nil
//	}}
//
//	func main() { argosy.Main(embedded.Engines(), hello) }
//
// It answers gRPC on :9090, REST and OpenAPI on :8080, health and metrics on
// :9091. See [Setup] for what a service can declare, and the packages store,
// event, idempotency and saga for what it can rely on.
package argosy
