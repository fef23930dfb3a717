// Package guard is the policies round a call: what is sent again, and what is
// not sent at all because the other side is known to be in trouble. They are
// on by default and right for most; the contract says which methods may be
// retried.
//
//	target := guard.NewTarget("argosy.shop.inventory.v1.Inventory", guard.Config{})
//	g := target.Method("order", "/argosy.shop.inventory.v1.Inventory/Reserve", guard.Repeatable)
//	err := g.Do(ctx, func(ctx context.Context) error { return call(ctx) })
//
// From the outside in:
//
//	caller → retry (≤ 3 attempts, full jitter, a budget of 10% for each target)
//	         or hedge (a second attempt beside a slow first; reads only, off by default)
//	       → bulkhead (attempts under way; for each method, as all that follow)
//	       → breaker (refuses at once while it is open)
//	       → limit (fewer under way while the other side is overloaded)
//	       → the attempt's own time
//	       → attempt
//
// [Target.State] tells how all of them stand.
//
// On the server's side a [Shedder] finds how many calls of a method are worth
// working on at once, and refuses the others by their [Criticality]; a [Rate]
// is the quota of each caller.
package guard
