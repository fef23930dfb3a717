// Package all is the set of every engine that Argosy has.
//
//	argosy.Main(all.Engines(), order.Service)
package all

import (
	"github.com/argosy-go/argosy/discovery"
	"github.com/argosy-go/argosy/discovery/consul"
	"github.com/argosy-go/argosy/discovery/etcd"
	"github.com/argosy-go/argosy/engine"
	"github.com/argosy-go/argosy/engine/embedded"
	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/store/postgres"
)

// Engines returns the set: SQLite and Postgres, JetStream in the process or outside, DNS, etcd and Consul.
func Engines() engine.Set {
	return embedded.Engines().With(engine.Set{
		Stores:      map[string]store.Opener{"postgres": postgres.Opener{}, "postgresql": postgres.Opener{}},
		Discoveries: map[string]discovery.Opener{"etcd": etcd.Opener{}, "consul": consul.Opener{}},
	})
}
