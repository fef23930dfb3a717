// Package all is the set of every engine that Argosy has.
//
//	argosy.Main(all.Engines(), order.Service)
package all

import (
	"github.com/argosy-go/argosy/engine"
	"github.com/argosy-go/argosy/engine/embedded"
	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/store/postgres"
)

// Engines returns the set: SQLite and Postgres, and JetStream in the process or outside.
func Engines() engine.Set {
	return embedded.Engines().With(engine.Set{
		Stores: map[string]store.Opener{"postgres": postgres.Opener{}, "postgresql": postgres.Opener{}},
	})
}
