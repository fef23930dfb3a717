// Package saga runs work that spans several services and survives any crash: a
// declared list of Go functions, each of which is done, or undone, or ends in
// front of a person; never silently stuck, never half forgotten.
//
//	var fulfil saga.Saga[*orderpb.Fulfilment]
//
//	func setup(s *argosy.Setup) error {
//		inventory := argosy.Client(s, inventorypb.NewInventoryClient)
//		payment := argosy.Client(s, paymentpb.NewPaymentClient)
//		fulfil = saga.Define(s, "fulfil-order",
//			saga.Do("reserve", saga.Call(inventory.Reserve, reserveOf)).Undo(saga.Call(inventory.Release, releaseOf)),
//			saga.Pivot("capture", saga.Call(payment.Capture, captureOf)),
//			saga.ThenTx("confirm", confirm),
//			saga.End(ended),
//		)
//		return nil
//	}
//
//	// in a transaction of the service:
//	fulfil.Start(tx, order.Id, &orderpb.Fulfilment{OrderId: order.Id})
//
// # The course of a run
//
//	Do ─ Do ─ … ─ Pivot ─ Then ─ Then ─ … ─ End: Completed
//	 └────┴────────┘ refused, or given up
//	 undo ─ undo ─ … ────────────────────── End: Compensated
//	 anything that can go neither way ───── End: Parked
//
// The result of a step and the intent of the next are one commit, on disk
// before the next step begins. After a crash the step under way is called again
// with the same [Key], so steps are idempotent: calls to services of the fleet
// carry the key by themselves, and DoTx and ThenTx write the service's own
// database in the commit that stores the step.
//
// Each attempt gets a fresh copy of the state, which is kept when the attempt
// succeeds.
//
// # What an error means
//
// An error of a step is one of three things:
//
//   - refused: a [fault.Error] or gRPC status INVALID_ARGUMENT, NOT_FOUND,
//     ALREADY_EXISTS, FAILED_PRECONDITION, OUT_OF_RANGE, PERMISSION_DENIED,
//     UNAUTHENTICATED or UNIMPLEMENTED. The run is compensated; after the pivot
//     it is parked.
//   - certainly not done: [fault.Error.NotDone]. The step is tried again. When
//     the attempts end, it is not undone itself.
//   - unknown: everything else, also a plain error, a deadline, a panic and a
//     crash. The step is asked again under the same key. When the attempts end,
//     the steps before it are undone, and so is the step itself.
//
// A pivot whose outcome stays unknown can be neither undone nor forgotten: it
// is asked for about 20 minutes and then parked. Undos are tried as long, and
// then parked. [Saga.Resume] lets a parked run go on.
//
// # Changing a saga
//
// Runs store the names of their steps. When the program has changed, a run goes
// on if the steps before its current one are those it has done, and is parked
// otherwise. So: append and change what comes after, and give a list of another
// order another name, keeping the old one until its runs have ended.
//
// # Many instances
//
// Instances of a service share its runs. Each holds a lease for all the runs it
// works on, and every write of a run is checked against the epoch that a claim
// raises: an instance that was stopped for longer than its lease changes
// nothing.
package saga
