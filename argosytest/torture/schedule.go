//go:build linux

package torture

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Strike is one fault at one time.
type Strike struct {
	At    time.Duration // since all processes were ready
	Fault string
	Lasts time.Duration
	Seed  uint64 // of the fault's own choices
}

// Schedule returns what Run does with the plan: the same for the same seed,
// length, interval and faults.
//
// Faults are dealt from a shuffled deck that holds each of them once, so that
// a run is as hard as its faults are many; one whose target still suffers goes
// back and is dealt next.
func (p Plan) Schedule() []Strike {
	p = p.withDefaults()
	if len(p.Faults) == 0 {
		return nil
	}
	dice := rand.New(rand.NewPCG(p.Seed, 0))
	free := map[string]time.Duration{} // when a target has suffered its last
	var strikes []Strike
	var deck []int
	for at := p.Every; at < p.Length; at += p.Every {
		next := deal(p.Faults, deck, free, at)
		if next < 0 { // nothing that is left can strike now: shuffle another deck in
			deck = append(deck, dice.Perm(len(p.Faults))...)
			next = deal(p.Faults, deck, free, at)
		}
		lasts, seed := dice.Float64(), dice.Uint64()
		if next < 0 {
			continue // everything suffers
		}
		f := p.Faults[deck[next]]
		deck = slices.Delete(deck, next, next+1)
		s := Strike{At: at, Fault: f.Name, Lasts: f.Min + time.Duration(lasts*float64(max(0, f.Max-f.Min))), Seed: seed}
		for _, t := range f.Targets {
			free[t] = s.At + s.Lasts + p.Every // time to recover
		}
		strikes = append(strikes, s)
	}
	return strikes
}

// deal returns the index in the deck of the first fault whose targets are
// free, or -1.
func deal(faults []Fault, deck []int, free map[string]time.Duration, at time.Duration) int {
	return slices.IndexFunc(deck, func(i int) bool {
		return !slices.ContainsFunc(faults[i].Targets, func(t string) bool { return free[t] > at })
	})
}

// check finds what is wrong with a plan before anything is started.
func (p Plan) check() error {
	names := map[string]bool{}
	for _, f := range p.Faults {
		switch {
		case f.Name == "" || f.Inject == nil:
			return fmt.Errorf("a fault needs a name and an Inject: %q", f.Name)
		case names[f.Name]:
			return fmt.Errorf("two faults are called %q", f.Name)
		}
		names[f.Name] = true
	}
	clear(names)
	for _, q := range p.Processes {
		switch {
		case q.Name == "" || q.Command == nil || q.Ready == nil:
			return fmt.Errorf("a process needs a name, a Command and a Ready: %q", q.Name)
		case strings.ContainsAny(q.Name, "/\n"):
			return fmt.Errorf("the name of a process is a word, not %q", q.Name)
		case names[q.Name]:
			return fmt.Errorf("two processes are called %q", q.Name)
		}
		names[q.Name] = true
	}
	return nil
}
