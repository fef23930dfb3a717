package embedded

import (
	"testing"

	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/internal/mutant"
)

// TestTheServerSyncsAlways reads back what JetStream runs with: its default
// acknowledges what a crash of the machine can still take away.
func TestTheServerSyncsAlways(t *testing.T) {
	b, err := Opener{}.Open(t.Context(), broker.OpenOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if got := b.(*Broker).host.server.JetStreamConfig().SyncAlways; got == mutant.NoFsync {
		t.Errorf("JetStream runs with SyncAlways %t", got)
	}
}
