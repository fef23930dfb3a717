package main

import "github.com/spf13/cobra"

// newSagaRetry returns argosy saga retry.
func newSagaRetry(a *app) *cobra.Command {
	s := &sagaChange{verb: "retry", steps: true}
	return s.command(a, &cobra.Command{
		Use: "retry [ID...]", Short: "Try the step of sagas again",
		Long: `argosy saga retry makes a saga take its step now, with all its attempts: one that
is parked, or that waits after an attempt that failed.`,
		Example: `  argosy saga retry 0198c0de-0000-7000-8000-000000000001 --reason 'the bank is back'
  argosy saga retry --saga checkout --state parked --dry-run`,
	})
}
