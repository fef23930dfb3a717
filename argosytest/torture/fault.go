//go:build linux

package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// Fault is one thing that goes wrong. The functions of this package that
// return a Fault are the usual ones; a literal is one of your own.
type Fault struct {
	// Name says what goes wrong, as in "kill the shop". Names are unique in a plan.
	Name string
	// Targets are the names of what suffers. Two faults that share a target
	// never strike at the same time.
	Targets []string
	// Min and Max bound how long the fault lasts before it is healed; the
	// schedule chooses. Max zero: it is healed at once.
	Min, Max time.Duration
	// Inject breaks things and returns how to heal them. With an error nothing
	// is broken, and the run has failed. A nil heal: nothing is left to heal.
	Inject func(ctx context.Context, s *Scene) (heal Heal, err error)
}

// Heal makes whole what a fault broke. It is called once, also when the run is
// cancelled; an error fails the run.
type Heal func(ctx context.Context) error

// Scene is where a fault strikes. Its methods may be used concurrently, Dice
// by one goroutine.
type Scene struct {
	// Dice makes the choices of the fault; it is seeded by the schedule.
	Dice *rand.Rand

	mu   sync.Mutex
	seen []string
}

// Note adds to what the report says of the strike.
func (s *Scene) Note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, fmt.Sprintf(format, args...))
}

func (s *Scene) notes() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.seen, "; ")
}
