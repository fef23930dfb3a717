package argosy

import (
	"encoding/json"
	"net/http"

	"github.com/argosy-go/argosy/rpc"
)

// Guards is how the policies round the calls of this process stand, as GET
// /guards tells on the admin listener.
type Guards struct {
	// Clients are the contracts that the services of this process call, once
	// for each service that does.
	Clients []rpc.ClientState `json:"clients"`
	// Server is what guards the calls from outside.
	Server rpc.ServerState `json:"server"`
}

func (f *Fleet) listGuards(w http.ResponseWriter, _ *http.Request) {
	all := Guards{Clients: []rpc.ClientState{}, Server: f.server.Snapshot()}
	for _, c := range f.clients {
		s := c.Guards()
		s.Service = f.owners[s.Target]
		all.Clients = append(all.Clients, s)
	}
	writeJSON(w, all)
}

// Connections are where the calls of this process to services elsewhere go, as
// GET /endpoints tells on the admin listener.
type Connections struct {
	// Connections has one for each contract that a service of this process
	// calls elsewhere, and for each service that its edge publishes.
	Connections []rpc.EndpointsState `json:"connections"`
}

func (f *Fleet) listEndpoints(w http.ResponseWriter, _ *http.Request) {
	all := Connections{Connections: []rpc.EndpointsState{}}
	for _, e := range f.endpoints {
		all.Connections = append(all.Connections, e.State())
	}
	writeJSON(w, all)
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the asker may be gone; nobody is left to tell
}
