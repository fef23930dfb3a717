package argosy

import (
	"google.golang.org/grpc"

	"github.com/argosy-go/argosy/rpc"
	"github.com/argosy-go/argosy/service"
)

// Service is one service of a fleet: a name and a function that declares what
// the service serves, calls, publishes, consumes and runs.
type Service struct {
	// Name is lower case letters, digits and single hyphens, and unique in
	// the fleet. It names the database, the settings and the metrics.
	Name string
	// Setup declares the service. It does no I/O: the handles it gets fail
	// until the service starts.
	Setup func(s *Setup) error
}

// Setup is what a service declares itself on: see [service.Setup].
type Setup = service.Setup

// Client declares that the service calls a contract and returns a client of
// it, made by the constructor that protoc-gen-go-grpc wrote:
//
//	o.inventory = argosy.Client(s, inventorypb.NewInventoryClient)
//
// Calls go straight to the handler when the contract is served in the same
// process and over gRPC otherwise, with the same policies, errors and limits.
// The client works from the start of the service. Options are what
// answers instead and how calls are guarded: see [rpc.Fallback], [rpc.Policies].
func Client[C any](s *Setup, newClient func(grpc.ClientConnInterface) C, options ...rpc.ClientOption) C {
	contract, err := rpc.Contract(newClient)
	if err != nil {
		s.Fail(err)
		var none C
		return none
	}
	return newClient(rpc.Declare(s, contract, options...))
}
