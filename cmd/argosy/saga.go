package main

import "github.com/spf13/cobra"

// newSaga returns argosy saga.
func newSaga(a *app) *cobra.Command {
	c := group("saga", "Sagas: where they are, and repairs", `argosy saga shows the sagas of the services and moves those that cannot move by
themselves. A saga that is parked waits for a person: it can go neither forward
nor back.`, `  argosy saga list --state parked
  argosy saga show 0198c0de-0000-7000-8000-000000000001
  argosy saga retry 0198c0de-0000-7000-8000-000000000001 --reason 'the bank is back'`)
	c.AddCommand(
		newSagaList(a), newSagaShow(a), newSagaRetry(a), newSagaSkip(a), newSagaCompensate(a),
		newSagaPark(a), newSagaResume(a), newSagaCancel(a),
	)
	return c
}
