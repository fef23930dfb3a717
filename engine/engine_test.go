package engine_test

import (
	"strings"
	"testing"

	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/engine"
	"github.com/argosy-go/argosy/engine/all"
	"github.com/argosy-go/argosy/engine/embedded"
	"github.com/argosy-go/argosy/store"
)

func TestTheSchemeOfAURLPicksTheAdapter(t *testing.T) {
	for _, set := range []engine.Set{embedded.Engines(), all.Engines()} {
		if _, err := set.Store(set.DefaultStore); err != nil {
			t.Error(err)
		}
		if _, err := set.Broker(set.DefaultBroker); err != nil {
			t.Error(err)
		}
		_, err := set.Store("oracle://host/db")
		if err == nil || !strings.Contains(err.Error(), `no adapter for the scheme "oracle"; it has: `) || !strings.HasSuffix(err.Error(), "sqlite") {
			t.Errorf("got %v", err)
		}
	}
	if _, err := embedded.Engines().Store("postgres://host/database"); err == nil {
		t.Error("the embedded set reaches a store outside")
	}
	for url, set := range map[string]engine.Set{"dns:": embedded.Engines(), "etcd://h:1": all.Engines(), "consul://h:1": all.Engines()} {
		if _, err := set.Discovery(url); err != nil {
			t.Error(err)
		}
	}
	for _, scheme := range []string{"postgres", "postgresql"} {
		if _, err := all.Engines().Store(scheme + "://host/database"); err != nil {
			t.Error(err)
		}
	}
	if _, err := all.Engines().Broker("nats://127.0.0.1:4222"); err != nil {
		t.Error(err)
	}
}

func TestWithLeavesBothSetsAsTheyWere(t *testing.T) {
	var none engine.Set
	both := none.With(embedded.Engines()).With(engine.Set{
		Stores: map[string]store.Opener{"other": nil}, Brokers: map[string]broker.Opener{"other": nil}, DefaultStore: "other:",
	})
	if _, err := both.Store("other:"); err != nil || both.DefaultStore != "other:" || both.DefaultBroker != "embedded:" {
		t.Errorf("%v %+v", err, both)
	}
	if _, err := embedded.Engines().Store("other:"); err == nil || none.Stores != nil {
		t.Error("With changed a set")
	}
}
