package main

import "github.com/spf13/cobra"

// newDeadReplay returns argosy event dead replay.
func newDeadReplay(a *app) *cobra.Command {
	d := &deadChange{verb: "replay", done: "replayed"}
	c := &cobra.Command{
		Use: "replay [ID...]", Short: "Give dead letters to their consumers again",
		Long: `argosy event dead replay gives dead letters to their consumers again, as if they
had just come: those with the given IDs, or those that the flags select. Whoever
fails again is a dead letter again.`,
		Example: `  argosy event dead replay 0198c0de-0000-7000-8000-000000000001
  argosy event dead replay --consumer OrderPlaced --dry-run
  argosy event dead replay --all --service inventory --yes`,
		RunE: func(cmd *cobra.Command, ids []string) error { return d.run(a, cmd, ids) },
	}
	d.addTo(c)
	return c
}
