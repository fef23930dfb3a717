package argosy

import "github.com/argosy-go/argosy/rpc"

// ServerState tells how the guards of the server stand.
func (f *Fleet) ServerState() rpc.ServerState { return f.server.Snapshot() }
