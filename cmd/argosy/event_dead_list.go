package main

import "github.com/spf13/cobra"

// newDeadList returns argosy event dead list.
func newDeadList(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "list", Short: "List the dead letters", Long: `argosy event dead list lists the events that consumers gave up on, the oldest
first. Consumers and types can be named by their ends: OrderPlaced.`,
		Example: `  argosy event dead list
  argosy event dead list --service inventory --consumer OrderPlaced
  argosy event dead list --limit 0 --output json`,
		Args: noArgs,
	}
	filter := addDeadFilter(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := a.connect(cmd); err != nil {
			return err
		}
		all, more, err := a.deadLetters(cmd.Context(), filter)
		if err != nil {
			return err
		}
		return a.show(map[string]any{"deadLetters": all, "more": more}, func() error {
			if len(all) == 0 {
				a.note("there are no dead letters")
				return nil
			}
			if more {
				a.note("there are more: take a larger --limit, or 0")
			}
			return a.letterTable(all)
		})
	}
	return c
}
