package main

import "github.com/spf13/cobra"

// newSagaPark returns argosy saga park.
func newSagaPark(a *app) *cobra.Command {
	s := &sagaChange{verb: "park"}
	return s.command(a, &cobra.Command{
		Use: "park [ID...]", Short: "Stop sagas until a person moves them",
		Long: `argosy saga park stops a saga that goes on or waits. What is under way changes
nothing any more. argosy saga resume lets it go on.`,
		Example: `  argosy saga park 0198c0de-0000-7000-8000-000000000001 --reason 'the carrier double-books'
  argosy saga park --saga checkout --state running --yes --reason 'the carrier double-books'`,
	})
}
