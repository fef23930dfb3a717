// Package engine says which stores, brokers and discoveries a program can use. A set is
// a plain value handed to argosy.Main, so that a binary links only what it
// uses and nothing registers itself:
//
//	argosy.Main(embedded.Engines(), order.Service)
//
// The scheme of a setting picks the adapter: --store sqlite:, --broker
// nats://127.0.0.1:4222.
package engine

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/discovery"
	"github.com/argosy-go/argosy/store"
)

// Set is the adapters that a program links, by URL scheme.
type Set struct {
	Stores  map[string]store.Opener
	Brokers map[string]broker.Opener
	// Discoveries find services that run elsewhere. None is used unless it is set.
	Discoveries map[string]discovery.Opener
	// DefaultStore and DefaultBroker are the URLs used when nothing is set,
	// as in "sqlite:" and "embedded:".
	DefaultStore  string
	DefaultBroker string
}

// Store returns the store adapter for a URL.
func (s Set) Store(url string) (store.Opener, error) { return pick("store", url, s.Stores) }

// Broker returns the broker adapter for a URL.
func (s Set) Broker(url string) (broker.Opener, error) { return pick("broker", url, s.Brokers) }

// Discovery returns the discovery adapter for a URL.
func (s Set) Discovery(url string) (discovery.Opener, error) {
	return pick("discovery", url, s.Discoveries)
}

func pick[T any](what, url string, from map[string]T) (T, error) {
	scheme, _, _ := strings.Cut(url, ":")
	if a, ok := from[scheme]; ok {
		return a, nil
	}
	var none T
	known := slices.Sorted(maps.Keys(from))
	return none, fmt.Errorf("%s: this program has no adapter for the scheme %q; it has: %s", what, scheme, strings.Join(known, ", ")) // not the URL: it may hold a password
}

// With returns a set that has the adapters of both; those of more win.
func (s Set) With(more Set) Set {
	out := Set{
		Stores: maps.Clone(s.Stores), Brokers: maps.Clone(s.Brokers), Discoveries: maps.Clone(s.Discoveries),
		DefaultStore: s.DefaultStore, DefaultBroker: s.DefaultBroker,
	}
	if out.Stores == nil {
		out.Stores = map[string]store.Opener{}
	}
	if out.Brokers == nil {
		out.Brokers = map[string]broker.Opener{}
	}
	if out.Discoveries == nil {
		out.Discoveries = map[string]discovery.Opener{}
	}
	maps.Copy(out.Discoveries, more.Discoveries)
	maps.Copy(out.Stores, more.Stores)
	maps.Copy(out.Brokers, more.Brokers)
	if more.DefaultStore != "" {
		out.DefaultStore = more.DefaultStore
	}
	if more.DefaultBroker != "" {
		out.DefaultBroker = more.DefaultBroker
	}
	return out
}
