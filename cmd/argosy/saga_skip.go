package main

import "github.com/spf13/cobra"

// newSagaSkip returns argosy saga skip.
func newSagaSkip(a *app) *cobra.Command {
	s := &sagaChange{verb: "skip", destructive: true, why: true, steps: true}
	return s.command(a, &cobra.Command{
		Use: "skip [ID...] --reason TEXT", Short: "Go on behind the step of sagas",
		Long: `argosy saga skip takes the step at which a saga is as done, or as undone where it
goes back, without doing it: whoever skips it has seen to it by hand. It asks
first, unless --yes is given.`,
		Example: `  argosy saga skip 0198c0de-0000-7000-8000-000000000001 --step ship --reason 'sent by hand, parcel 4711'`,
	})
}
