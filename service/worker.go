package service

import (
	"context"
	"crypto/rand"
	"os"
	"strings"
)

// Stage is when a worker stops in the drain.
type Stage int

// The stages, in the order in which they stop.
const (
	// Intake takes work in: event fetchers, timers, claims of runs.
	Intake Stage = iota
	// Work is what goes on inside: users' own loops.
	Work
	// Output passes results on: outbox relays.
	Output
)

// Worker is a background loop of a service.
type Worker struct {
	Stage Stage
	Name  string
	// Run works until ctx ends and then returns soon. When it returns an
	// error, or panics, before that, it is logged and run again after a pause.
	Run func(ctx context.Context) error
}

// Go runs a loop of the service's own, from start to drain.
func (s *Setup) Go(name string, run func(ctx context.Context) error) {
	s.Worker(Worker{Work, name, run})
}

// Worker adds a worker with its stage.
func (s *Setup) Worker(w Worker) { s.workers = append(s.workers, w) }

// Workers returns the declared workers.
func (s *Setup) Workers() []Worker { return s.workers }

// newInstance returns a name that no other process has or had.
func newInstance() string {
	host, err := os.Hostname()
	if err != nil {
		host = "host"
	}
	return host + "-" + strings.ToLower(rand.Text()[:10])
}
