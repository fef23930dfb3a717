package nats_test

import (
	"log/slog"
	"testing"

	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/broker/brokertest"
	"github.com/argosy-go/argosy/broker/embedded"
	"github.com/argosy-go/argosy/broker/nats"
)

func TestConformance(t *testing.T) {
	brokertest.Run(t, brokertest.Adapter{
		New: func(t *testing.T) func() broker.Broker {
			url := serve(t, t.TempDir(), "127.0.0.1:0").URL()
			return func() broker.Broker { return connect(t, url) }
		},
	})
}

// serve runs a server that listens on addr, until it is closed or the test ends.
func serve(t testing.TB, dir, addr string) *embedded.Broker {
	t.Helper()
	b, err := embedded.Opener{Listen: addr}.Open(t.Context(), broker.OpenOptions{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("close the server: %v", err)
		}
	})
	return b.(*embedded.Broker)
}

// connect opens a broker at the server; the test ends with it closed.
func connect(t testing.TB, url string) *nats.Broker {
	t.Helper()
	b, err := nats.Opener{}.Open(t.Context(), broker.OpenOptions{URL: url, Name: t.Name(), Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("close the broker: %v", err)
		}
	})
	return b.(*nats.Broker)
}
