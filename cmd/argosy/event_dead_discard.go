package main

import "github.com/spf13/cobra"

// newDeadDiscard returns argosy event dead discard.
func newDeadDiscard(a *app) *cobra.Command {
	d := &deadChange{verb: "discard", done: "discarded", destructive: true}
	c := &cobra.Command{
		Use: "discard [ID...] --reason TEXT", Short: "Throw dead letters away",
		Long: `argosy event dead discard throws dead letters away: their consumers never see
them. The records keep who did it and why. It asks first, unless --yes is given.`,
		Example: `  argosy event dead discard 0198c0de-0000-7000-8000-000000000001 --reason 'sent by a test'
  argosy event dead discard --type argosy.shop.order.v1.OrderPlaced --key 17 --reason 'order 17 is gone' --dry-run`,
		RunE: func(cmd *cobra.Command, ids []string) error { return d.run(a, cmd, ids) },
	}
	d.addTo(c)
	return c
}
