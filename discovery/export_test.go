package discovery

import "time"

// Between returns the resolver with other bounds between its lookups.
func (d *DNS) Between(shortest, longest time.Duration) *DNS {
	return &DNS{names: d.names, server: d.server, min: shortest, max: longest}
}
