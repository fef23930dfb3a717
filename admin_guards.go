package argosy

import (
	"encoding/json"
	"net/http"

	"github.com/argosy-go/argosy/guard"
	"github.com/argosy-go/argosy/rpc"
)

// Guards is how the policies round the calls of this process stand, as GET
// /guards tells on the admin listener.
type Guards struct {
	// Clients are the contracts that the services of this process call, once
	// for each service that does.
	Clients []guard.TargetState `json:"clients"`
	// Server is what guards the calls from outside.
	Server rpc.ServerState `json:"server"`
}

func (f *Fleet) listGuards(w http.ResponseWriter, _ *http.Request) {
	all := Guards{Clients: []guard.TargetState{}, Server: f.server.Snapshot()}
	for _, c := range f.clients {
		all.Clients = append(all.Clients, c.Guards())
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(all) // the asker may be gone; nobody is left to tell
}
