// Package carrier is the shop's carrier: a program of the outside world that
// books shipments, collects them and delivers them, and keeps a ledger of its
// own.
//
//	err := carrier.Run(ctx, carrier.Config{Config: witness.Config{Dir: "data/carrier"}})
//
// Every POST needs an Idempotency-Key; the same key gets the same answer for
// ever, another request under it 422. A shipment is addressed by the caller's
// own reference.
//
//	POST /shipments                      {"reference","summary","items","weightGrams"} -> 201
//	POST /shipments/{ref}/cancellations  {} -> 200
//	POST /shipments/{ref}/dispatches     {} -> 200
//	POST /shipments/{ref}/recalls        {} -> 200
//	GET  /shipments/{ref}                -> 200, 404
//	GET  /quotes?items=3&weightGrams=1200 -> 200
//	GET  /ledger, GET /healthz, PUT /webhook {"url","secret"}
//
// All answers but errors and quotes are a [Shipment].
//
//   - A cancellation before its booking answers CANCELLED and closes the
//     reference: the late booking is refused (409 CLOSED). So does a recall of
//     what was never booked.
//   - A cancellation after the dispatch is refused (409 DISPATCHED): recall it.
//   - A recall is accepted in every state: the goods come back.
//   - Refusals of this kind (409) are in the ledger, with outcome "refused";
//     400, 404, 413, 415 and 422 leave no trace.
//
// A dispatched shipment is IN_TRANSIT after [Config].Transit and DELIVERED
// after [Config].Delivery, of which the webhooks shipment.in_transit and
// shipment.delivered tell, with the Shipment as data.
package carrier
