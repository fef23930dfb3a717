package service

import "slices"

// Kind is what an [Edge] of the program's graph means.
type Kind string

// The kinds of edges.
const (
	Serves      Kind = "serves"       // Name: a contract
	Calls       Kind = "calls"        // Name: a contract
	Publishes   Kind = "publishes"    // Name: a topic; Message: the type
	Consumes    Kind = "consumes"     // Name: a topic; Message: the type
	RunsSaga    Kind = "saga"         // Name: the saga
	NeedsBroker Kind = "needs-broker" // a broker must be configured
)

// Edge is something that a service declared about itself: what it serves,
// calls, publishes, consumes or runs. The program knows its graph from the
// edges without running.
type Edge struct {
	Kind    Kind
	Name    string
	Message string
}

// Declare adds an edge, once.
func (s *Setup) Declare(e Edge) {
	if !slices.Contains(s.edges, e) {
		s.edges = append(s.edges, e)
	}
}

// Edges returns what was declared, in order.
func (s *Setup) Edges() []Edge { return slices.Clone(s.edges) }
