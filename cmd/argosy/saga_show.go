package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// newSagaShow returns argosy saga show.
func newSagaShow(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "show ID", Short: "Show a saga with its data and history", Long: `argosy saga show shows a run of a saga: where it is, its data, and what happened
to it, also by operators. Fields that the contract marks as sensitive are not
shown.`,
		Example: `  argosy saga show 0198c0de-0000-7000-8000-000000000001
  argosy saga show 17 --saga checkout --output json`,
		Args: oneArg("the ID of a saga"),
	}
	saga := c.Flags().String("saga", "", "that of the saga `NAME`, where several have the ID")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := a.connect(cmd); err != nil {
			return err
		}
		r, err := a.sagaRun(cmd.Context(), *saga, args[0])
		if err != nil {
			return err
		}
		return a.show(r, func() error { return a.runPage(r) })
	}
	return c
}

func (a *app) runPage(r sagaRun) error {
	err := a.screen.fields([]field{
		{"id", text(r.ID)}, {"service", text(r.Service)}, {"saga", text(r.Saga)}, {"state", cell{r.State, styleOf(r.State)}},
		{"step", text(r.Step)}, {"done", text(strings.Join(r.Done, ", "))}, {"attempts", text(strconv.Itoa(r.Attempts))},
		{"holder", text(r.Holder)}, {"epoch", text(strconv.FormatInt(r.Epoch, 10))},
		{"created", text(a.screen.when(r.CreatedAt))}, {"updated", text(a.screen.when(r.UpdatedAt))}, {"ended", text(a.screen.ifSet(r.EndedAt))},
		{"next", text(a.screen.ifSet(r.NextAt))}, {"deadline", text(a.screen.ifSet(r.Deadline))},
		{"cause", text(r.Cause)}, {"error", cell{r.Error, red}},
	})
	if err != nil {
		return err
	}
	if err := a.block("data", r.Data); err != nil {
		return err
	}
	if len(r.History) == 0 {
		return nil
	}
	if _, err := fmt.Fprintln(a.screen.out); err != nil {
		return err
	}
	if r.Dropped > 0 {
		a.note("the history lost its oldest %s", strconv.Itoa(r.Dropped))
	}
	var rows [][]cell
	for _, e := range r.History {
		attempt := ""
		if e.Attempt > 0 {
			attempt = strconv.Itoa(e.Attempt)
		}
		rows = append(rows, []cell{text(a.screen.when(e.At)), text(e.What), text(e.Step), text(attempt), text(e.Actor), text(e.Reason), {e.Error, red}})
	}
	return a.screen.table([]column{
		{"AT", true}, {"WHAT", true}, {"STEP", false}, {"ATTEMPT", true}, {"ACTOR", false}, {"REASON", false}, {"ERROR", false},
	}, rows)
}
