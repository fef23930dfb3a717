// Package embedded is the set of engines that run inside the process: SQLite
// files and a JetStream server. It needs nothing but a directory. DNS is in it,
// as it needs no adapter. The client of
// that server is in it too, so that the processes of one fleet can share one.
//
//	argosy.Main(embedded.Engines(), order.Service)
package embedded

import (
	"github.com/argosy-go/argosy/broker"
	broker_embedded "github.com/argosy-go/argosy/broker/embedded"
	"github.com/argosy-go/argosy/broker/nats"
	"github.com/argosy-go/argosy/discovery"
	"github.com/argosy-go/argosy/engine"
	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/store/sqlite"
)

// Engines returns the set.
func Engines() engine.Set {
	return engine.Set{
		Stores:        map[string]store.Opener{"sqlite": sqlite.Opener{}},
		Brokers:       map[string]broker.Opener{"embedded": broker_embedded.Opener{}, "nats": nats.Opener{}},
		Discoveries:   map[string]discovery.Opener{"dns": discovery.DNSOpener{}},
		DefaultStore:  "sqlite:",
		DefaultBroker: "embedded:",
	}
}
