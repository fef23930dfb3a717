// Package audit checks the shop from outside: it reads the services' stores,
// the ledgers of the bank and the carrier and the journals of the load, whether
// the fleet runs or not, and compares them.
//
//	report, err := audit.Run(ctx, audit.Shop{Dir: dir})
//	// report.OK, report.Quiet, report.Checks
//
// It trusts nobody: what an order says of itself is held against what the bank
// booked, what the carrier took and what the customer was told.
package audit

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Check is one thing that must hold.
type Check struct {
	// Name says what must hold.
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// Detail gives the figures, or the first offenders.
	Detail string `json:"detail"`
}

// Report is the result of an audit.
type Report struct {
	OK     bool    `json:"ok"`
	Checks []Check `json:"checks"`
	// Quiet reports whether all work had ended when the audit looked. A check
	// that fails while it is false may hold later.
	Quiet bool `json:"quiet"`
	// Waiting says what had not ended.
	Waiting string `json:"waiting,omitempty"`
}

// Shop says where the shop's books are.
type Shop struct {
	// Dir is the data directory of the fleet, with the ledgers and journals.
	Dir string
	// Store is the fleet's own setting of that name. Empty, or "sqlite:": files
	// in Dir. "postgres://…": schemas of that server.
	Store string
}

// Run audits a shop, once.
func Run(ctx context.Context, shop Shop) (Report, error) {
	b, err := read(ctx, shop)
	if err != nil {
		return Report{}, err
	}
	waiting := b.waiting()
	checks := b.checks()
	red := slices.ContainsFunc(checks, func(c Check) bool { return !c.OK })
	return Report{OK: !red, Checks: checks, Quiet: waiting == "", Waiting: waiting}, nil
}

const (
	// look is how long Wait pauses between two audits.
	look = 200 * time.Millisecond
	// settle is how long a shop whose stores are quiet must stay red: an event
	// between its publisher and its consumer is in the broker and in no store.
	settle = 2 * time.Second
)

// Wait audits until the shop is quiet and every check holds, at most for
// patience; it returns the last report. A quiet shop in which something does
// not hold is looked at for two seconds, also without patience.
func Wait(ctx context.Context, shop Shop, patience time.Duration) (Report, error) {
	begun := time.Now()
	for {
		r, err := Run(ctx, shop)
		if err != nil || r.Quiet && r.OK {
			return r, err
		}
		limit := patience
		if r.Quiet {
			limit = max(patience, settle)
		}
		if time.Since(begun)+look > limit {
			return r, nil
		}
		select {
		case <-ctx.Done():
			return r, context.Cause(ctx)
		case <-time.After(look):
		}
	}
}

// offenders collects what breaks a rule and names the first few.
type offenders struct {
	n     int
	first []string
}

func (o *offenders) add(format string, args ...any) {
	o.n++
	if len(o.first) < 5 {
		o.first = append(o.first, fmt.Sprintf(format, args...))
	}
}

// check makes the result: ok is the detail when nothing offends.
func (o *offenders) check(name, format string, args ...any) Check {
	if o.n == 0 {
		return Check{name, true, fmt.Sprintf(format, args...)}
	}
	slices.Sort(o.first)
	return Check{name, false, fmt.Sprintf("%d offend: %s", o.n, strings.Join(o.first, "; "))}
}
