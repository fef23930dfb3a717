// Package store is the transaction: a service's SQL, the events it publishes,
// the replies it gives and the sagas it starts, together or not at all, and on
// disk when it has returned.
//
//	err := db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
//		_, err := tx.ExecContext(ctx, "UPDATE stock SET n = n - $1 WHERE sku = $2 AND n >= $1", n, sku)
//		return err
//	})
//
// The contract of an adapter is [Engine]; store/sqlite and store/postgres are
// adapters, and store/storetest holds the suite that they pass.
package store
