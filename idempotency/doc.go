// Package idempotency gives a request that is sent again its first reply. Key,
// effect and reply are one transaction:
//
//	func (o *orders) PlaceOrder(ctx context.Context, req *orderpb.PlaceOrderRequest) (*orderpb.Order, error) {
//		return idempotency.Do(ctx, o.db, req, func(ctx context.Context, tx *store.Tx) (*orderpb.Order, error) {
//			// SQL on tx, events, sagas
//			return order, nil // stored as the reply to this key
//		})
//	}
//
// A key belongs to its caller and method. What becomes of a call:
//
//	no key                          a plain transaction
//	first with its key              runs; reply stored in its commit
//	copy of one that runs           waits for it, at most until its deadline, then 409
//	copy of one that is done        the stored reply
//	same key, other request         422
//	a domain error (NOT_FOUND, …)   what the function wrote is undone, the error is stored
//	any other error, panic, crash   nothing is stored; a copy runs it again
package idempotency
