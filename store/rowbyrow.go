package store

import "context"

type rowByRowKey struct{}

// RowByRow returns a context whose transactions are right when each of
// their statements sees what others have committed by then, as READ COMMITTED
// is: those that change rows only by comparing them in the same statement. A
// store that can runs them so, and they are in conflict with nobody; the others
// run them as all transactions. It is for mechanisms, not for services.
func RowByRow(ctx context.Context) context.Context {
	return context.WithValue(ctx, rowByRowKey{}, true)
}

// IsRowByRow reports whether ctx comes from [RowByRow].
func IsRowByRow(ctx context.Context) bool { return ctx.Value(rowByRowKey{}) != nil }
