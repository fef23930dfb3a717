package main

import "github.com/spf13/cobra"

// newSagaList returns argosy saga list.
func newSagaList(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "list", Short: "List the sagas", Long: `argosy saga list lists the runs of sagas: where each is, how often its step was
tried, when it is tried next, and the last error. The states are running,
compensating, completed, compensated and parked.`,
		Example: `  argosy saga list --state parked
  argosy saga list --saga checkout --older-than 10m
  argosy saga list --limit 0 --output json`,
		Args: noArgs,
	}
	filter := addRunFilter(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := a.connect(cmd); err != nil {
			return err
		}
		all, more, err := a.sagaRuns(cmd.Context(), filter)
		if err != nil {
			return err
		}
		return a.show(map[string]any{"runs": all, "more": more}, func() error {
			if len(all) == 0 {
				a.note("there are no such sagas")
				return nil
			}
			if more {
				a.note("there are more: take a larger --limit, or 0")
			}
			return a.runTable(all)
		})
	}
	return c
}
