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
// A [When] takes its steps only if the state says so, an [Each] takes its steps
// for each of its items. What they decide is stored before the first of the
// steps begins, and stays as it is, over retries, restarts and deploys.
//
// # Time
//
// [Step.Timeout] bounds one attempt, [Step.Attempts] and [Step.Within] all
// attempts of a step, [Deadline] the whole run: before the pivot the run is
// compensated then, and after it the deadline is an alarm. Timers are rows: they
// outlive restarts, and cost neither memory nor a goroutine.
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
// then parked.
//
// A step is asked again under its key for a day ([KeyLife]), as long as
// participants promise to remember keys; a run whose step is of unknown outcome
// for longer is parked. So is one whose step was under way in [CrashLimit]
// processes that ended: it may be what ends them.
//
// # Operators
//
// [Operate] retries, skips, compensates, parks, resumes and cancels runs; it is
// served to operators as POST /sagas/{saga}/runs/{id}/{action}. Each action is
// checked against the state of the run, takes the run from the instance that
// works on it, and is kept in the run's history with who did it and why. [List]
// and [Describe] show runs. What needs a person is in the metrics:
// argosy_saga_parked, argosy_saga_unclaimed, argosy_saga_late_total and
// argosy_saga_crashes_total.
//
// # Changing a saga
//
// Runs store the names of their steps. When the program has changed, a run goes
// on if the steps before its current one are those it has done, and is parked
// otherwise. So: append and change what comes after, and give a list of another
// order another name, keeping the old one until its runs have ended.
//
// While a new program is rolled out, instances of the old one leave the runs of
// the new one alone. So after a rollback, runs that the new program has worked
// on wait for it; they are counted in argosy_saga_unclaimed.
//
// # Many instances
//
// Instances of a service share its runs. A run that waits has no holder: when
// it is due, any instance claims it, a batch at a time and past the rows that
// others have locked. Each instance holds a lease for all the runs it works on;
// when it runs out, the others take the runs over. Every write of a run is
// checked against the epoch that a claim raises: an instance that was stopped
// for longer than its lease changes nothing.
package saga
