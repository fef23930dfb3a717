// Package bank is the shop's bank: a program of the outside world that sets
// money aside, takes it and gives it back, and keeps a ledger of its own.
//
//	err := bank.Run(ctx, bank.Config{Dir: "data/bank"})
//
// Every POST needs an Idempotency-Key; the same key gets the same answer for
// ever, another request under it 422. An authorization is addressed by the
// caller's own reference, so that a caller who never got an answer can act.
//
//	POST /authorizations            {"reference","token","amount","currency"} -> 201
//	POST /authorizations/{ref}/captures  {} -> 200
//	POST /authorizations/{ref}/voids     {} -> 200
//	POST /authorizations/{ref}/refunds   {} or {"amount"} -> 200
//	GET  /authorizations/{ref}      -> 200, 404
//	GET  /ledger, GET /healthz, PUT /webhook {"url","secret"}
//
// All answers but errors are an [Authorization]. A decline is no error: 201
// with state DECLINED, and the reference may be tried again under another key.
//
//   - A void before its authorize answers VOIDED and closes the reference: the
//     late authorize is refused (409 CLOSED).
//   - A refund of nothing captured is accepted ("nothing") and closes the
//     reference to a late capture.
//   - A second capture under another key is refused (409 ALREADY_CAPTURED).
//   - Refusals of this kind (409) are in the ledger, with outcome "refused";
//     400, 404, 413, 415 and 422 leave no trace.
//
// Tokens: tok_ok; tok_decline; tok_timeout_after_commit, where the first
// authorize and the first capture are booked and then left without an answer;
// tok_slow, where they are answered after 200 to 800 ms. Any other is 422.
//
// Webhooks: payment.authorized, .declined, .captured, .voided and .refunded,
// with the Authorization as data. See the webhook package.
package bank
