package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// sagaChange is what the commands that move a saga have in common.
type sagaChange struct {
	verb        string
	destructive bool // asks first, also for one run
	why         bool // wants a reason
	steps       bool // may name a step

	step, reason string
	all          bool
	yes, dryRun  bool
	filter       *runFilter
}

// command returns the command that does it.
func (s *sagaChange) command(a *app, c *cobra.Command) *cobra.Command {
	s.filter = addRunFilter(c)
	c.Flags().BoolVar(&s.all, "all", false, "all runs, where no filter is given")
	if s.steps {
		c.Flags().StringVar(&s.step, "step", "", "only if the run is at the step `NAME`")
	}
	c.Flags().StringVar(&s.reason, "reason", "", "`TEXT` that the records keep")
	addYes(c, &s.yes, &s.dryRun)
	c.RunE = func(cmd *cobra.Command, ids []string) error { return s.run(a, cmd, ids) }
	return c
}

// check finds what is wrong with the command line.
func (s *sagaChange) check(ids []string) error {
	if len(ids) == 0 && !s.filter.set() && !s.all {
		return usagef("name sagas by their IDs, select them by --saga, --state, --key or --older-than, or say --all")
	}
	if len(ids) > 0 && (s.all || s.filter.state != "" || s.filter.key != "" || s.filter.olderThan != 0) {
		return usagef("name sagas by their IDs or select them, not both")
	}
	if s.why && strings.TrimSpace(s.reason) == "" {
		return usagef("say why by --reason: the records keep it")
	}
	return nil
}

// run does it to the runs that are named or selected, one after another.
func (s *sagaChange) run(a *app, cmd *cobra.Command, ids []string) error {
	if err := s.check(ids); err != nil {
		return err
	}
	if err := a.connect(cmd); err != nil {
		return err
	}
	runs, more, err := s.targets(cmd.Context(), a, ids)
	if err != nil {
		return err
	}
	if s.dryRun || len(runs) == 0 {
		return a.show(map[string]any{"runs": runs}, func() error {
			if len(runs) == 0 {
				a.note("no saga is selected")
				return nil
			}
			return a.runTable(runs)
		})
	}
	if more {
		a.note("more are selected than --limit %d: the first are taken", s.filter.limit)
	}
	if s.destructive || len(ids) == 0 {
		what := counted(len(runs), "saga")
		if len(runs) == 1 {
			what = fmt.Sprintf("saga %s %s of %s (%s at %s)", runs[0].Saga, runs[0].ID, runs[0].Service, runs[0].State, runs[0].Step)
		}
		if err := a.confirm(s.yes, "%s %s?", s.verb, what); err != nil {
			return err
		}
	}
	return s.change(cmd.Context(), a, runs)
}

// targets finds the runs.
func (s *sagaChange) targets(ctx context.Context, a *app, ids []string) (runs []sagaRun, more bool, err error) {
	if len(ids) == 0 {
		return a.sagaRuns(ctx, s.filter)
	}
	for _, id := range ids {
		r, err := a.sagaRun(ctx, s.filter.saga, id)
		if err != nil {
			return nil, false, err
		}
		runs = append(runs, r)
	}
	return runs, false, nil
}

// change does it. One that fails does not keep the others from it.
func (s *sagaChange) change(ctx context.Context, a *app, runs []sagaRun) error {
	body := map[string]string{"reason": s.reason}
	if s.step != "" {
		body["step"] = s.step
	}
	after := []sagaRun{}
	failed := 0
	for _, r := range runs {
		var now sagaRun
		err := a.client.post(ctx, r.place.at, body, &now, "services", r.Service, "sagas", r.Saga, "runs", r.ID, s.verb)
		if err != nil {
			err = fmt.Errorf("%s saga %s %s of %s: %w", s.verb, r.Saga, r.ID, r.Service, err)
			if len(runs) == 1 {
				return err
			}
			a.note("%s", message(err))
			failed++
			continue
		}
		now.Service, now.Data, now.History = r.Service, nil, nil
		after = append(after, now)
	}
	if len(after) > 0 {
		if err := a.show(map[string]any{"runs": after}, func() error { return a.runTable(after) }); err != nil {
			return err
		}
	}
	if failed > 0 {
		return &partError{failed, len(runs)}
	}
	return nil
}
