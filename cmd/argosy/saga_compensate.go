package main

import "github.com/spf13/cobra"

// newSagaCompensate returns argosy saga compensate.
func newSagaCompensate(a *app) *cobra.Command {
	s := &sagaChange{verb: "compensate", destructive: true}
	return s.command(a, &cobra.Command{
		Use: "compensate [ID...]", Short: "Take back what sagas have done",
		Long: `argosy saga compensate turns a saga round that goes forward, also one that is
parked: what it has done is taken back, the last step first. It is refused once
the pivot has succeeded. It asks first, unless --yes is given.`,
		Example: `  argosy saga compensate 0198c0de-0000-7000-8000-000000000001 --reason 'the customer rang'`,
	})
}
