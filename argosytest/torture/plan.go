//go:build linux

package torture

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"
)

// Plan is what is done to which processes, and what must hold afterwards.
type Plan struct {
	// Seed makes the schedule. Zero: another in each run; it is printed.
	Seed uint64
	// Length is how long faults are injected. Zero: 30 s.
	Length time.Duration
	// Every is the time between two faults. Zero: 2 s.
	Every time.Duration
	// Processes are started in this order, each when the one before is ready,
	// and stopped in the reverse order.
	Processes []*Process
	// Faults are what strikes. Each strikes about as often as any other.
	Faults []Fault
	// Load uses the processes until ctx ends, and then comes to its own end:
	// what it has begun it may finish. Its figures go to the report. It begins
	// when all processes are ready. Nil: nobody uses them.
	Load func(ctx context.Context) ([]Figure, error)
	// Probe is one use of the processes, that fails while they suffer. After
	// each heal it is called until it succeeds: that is the recovery time of the
	// report. It is called by one goroutine at a time and has 10 s. Nil: recovery
	// is when every process is ready.
	Probe func(ctx context.Context) error
	// Quiet waits until all work has ended. It is called when everything is
	// healed and the load has gone. Nil: nothing is waited for.
	Quiet func(ctx context.Context) error
	// Invariant checks what must hold and describes what it found, in Markdown.
	// It is called after Quiet, while the processes run.
	Invariant func(ctx context.Context) (found string, err error)
	// Patience bounds a heal, a recovery once nothing strikes any more, the end of
	// the load, Quiet and Invariant, each. Zero: 1 min.
	Patience time.Duration
	// Report is the file that receives the report. Empty: none is written; a
	// run that fails prints it.
	Report string
}

// Figure is one line of figures in the report.
type Figure struct{ Name, Value string }

// Run carries out the plan. What goes wrong, other than what the faults
// themselves do, fails the test: a process that cannot be started, panics or
// ends by itself while nothing strikes, a heal or a recovery that takes too
// long, work that does not end, and the invariant.
func Run(t testing.TB, p Plan) Report {
	t.Helper()
	p = p.withDefaults()
	t.Logf("torture: seed %d, %s, a fault every %s", p.Seed, p.Length, p.Every)
	r := execute(t.Context(), p)
	text := r.Markdown()
	if p.Report != "" {
		if err := r.write(p.Report); err != nil {
			t.Errorf("torture: %v", err)
		} else {
			t.Logf("torture: the report is in %s", p.Report)
		}
	}
	for _, problem := range r.Problems {
		t.Errorf("torture: %s", problem)
	}
	if t.Failed() {
		t.Log("\n" + text)
	}
	return r
}

func (p Plan) withDefaults() Plan {
	if p.Seed == 0 {
		p.Seed = rand.Uint64()
	}
	if p.Length == 0 {
		p.Length = 30 * time.Second
	}
	if p.Every == 0 {
		p.Every = 2 * time.Second
	}
	if p.Patience == 0 {
		p.Patience = time.Minute
	}
	return p
}
