package main

import "github.com/spf13/cobra"

// newSagaResume returns argosy saga resume.
func newSagaResume(a *app) *cobra.Command {
	s := &sagaChange{verb: "resume"}
	return s.command(a, &cobra.Command{
		Use: "resume [ID...]", Short: "Let parked sagas go on",
		Long: `argosy saga resume lets a parked saga go on where it stopped.`,
		Example: `  argosy saga resume 0198c0de-0000-7000-8000-000000000001
  argosy saga resume --saga checkout --state parked --yes`,
	})
}
