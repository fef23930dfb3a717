package main

import "github.com/spf13/cobra"

// newSagaCancel returns argosy saga cancel.
func newSagaCancel(a *app) *cobra.Command {
	s := &sagaChange{verb: "cancel", destructive: true}
	return s.command(a, &cobra.Command{
		Use: "cancel [ID...]", Short: "Ask sagas to turn round",
		Long: `argosy saga cancel asks a saga to turn round, as its own program would: a call
that is under way ends first, and it comes too late once the pivot is to be
attempted. It asks first, unless --yes is given.`,
		Example: `  argosy saga cancel 0198c0de-0000-7000-8000-000000000001 --reason 'ordered twice'`,
	})
}
