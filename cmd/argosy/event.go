package main

import "github.com/spf13/cobra"

// newEvent returns argosy event.
func newEvent(a *app) *cobra.Command {
	c := group("event", "Events: what waits, and what consumers gave up on", `argosy event shows what the services have still to send and to receive, and
repairs what their consumers gave up on: the dead letters.`, `  argosy event status
  argosy event dead list --service inventory
  argosy event replay inventory/argosy.shop.order.v1.OrderPlaced --from 2h`)
	c.AddCommand(newEventStatus(a), newDead(a), newEventReplay(a), newEventAudit(a))
	return c
}

// newDead returns argosy event dead.
func newDead(a *app) *cobra.Command {
	c := group("dead", "Dead letters: events that consumers gave up on", `A dead letter is an event that a consumer gave up on: it refused it for good, or
failed as often as it may. The event is kept with its headers and the error, and
the events behind it went on. Once the cause is gone, replay it; what nobody can
ever use, discard.`, `  argosy event dead list
  argosy event dead show 0198c0de-0000-7000-8000-000000000001
  argosy event dead replay --consumer inventory/argosy.shop.order.v1.OrderPlaced
  argosy event dead discard 0198c0de-0000-7000-8000-000000000001 --reason 'a test'`)
	c.AddCommand(newDeadList(a), newDeadShow(a), newDeadReplay(a), newDeadDiscard(a))
	return c
}
