// Package witness is what the bank and the carrier of the shop have in common:
// programs of the outside world, each with a [ledger] of its own, which an
// audit compares with what the shop believes.
//
// They run as processes of their own, import nothing of the framework under
// audit, and outlive a fleet that was killed:
//
//	p, err := witness.Ensure(ctx, witness.Launch{
//		Name: "bank", Dir: dir, Command: []string{self, "bank"},
//		Webhook: "http://127.0.0.1:8080/webhooks/bank", Secret: secret,
//	})
//	defer p.Stop(ctx) // on a graceful end; after a kill the next Ensure adopts it
//
// A witness decides an operation, applies it to its books, puts it in the
// ledger, waits for the disk, and only then answers:
//
//	request -> key known? -> decide -> apply -> append -> fsync -> answer, webhook
//
// The reply is part of the entry, so that the same key gets the same answer
// after any crash.
package witness
