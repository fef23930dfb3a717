package main

import "github.com/spf13/cobra"

// newSagaCancel returns argosy saga cancel.
func newSagaCancel(a *app) *cobra.Command {
	s := &sagaChange{verb: "cancel", destructive: true}
	return s.command(a, &cobra.Command{
		Use: "cancel [ID...]", Short: "Cancel sagas",
		Long: `argosy saga cancel cancels a saga as its own program would: it takes back what was
done, unless it is past the point from which it only goes forward. It asks
first, unless --yes is given.`,
		Example: `  argosy saga cancel 0198c0de-0000-7000-8000-000000000001 --reason 'ordered twice'`,
	})
}
