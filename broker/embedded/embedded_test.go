package embedded_test

import (
	"log/slog"
	"testing"

	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/broker/brokertest"
	"github.com/argosy-go/argosy/broker/embedded"
)

func TestConformance(t *testing.T) {
	brokertest.Run(t, brokertest.Adapter{
		New: func(t *testing.T) func() broker.Broker {
			dir := t.TempDir()
			return func() broker.Broker { return open(t, embedded.Opener{}, dir) }
		},
	})
}

// open opens a broker in dir; the test ends with it closed.
func open(t testing.TB, o embedded.Opener, dir string) *embedded.Broker {
	t.Helper()
	b, err := o.Open(t.Context(), broker.OpenOptions{Dir: dir, Name: t.Name(), Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("close the broker: %v", err)
		}
	})
	return b.(*embedded.Broker)
}
