package idempotency

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/url"

	"github.com/argosy-go/argosy/rpc"
)

// Sub returns a context whose next call carries a key of its own: that of ctx
// and the part, the same each time. It is for calling one method more than once
// in one attempt of a saga's step, or in one handler, where each call needs a
// key that a second attempt uses again:
//
//	for _, line := range lines {
//		o.inventory.Reserve(idempotency.Sub(ctx, line.Sku), …)
//	}
//
// In a handler the key is made from that of the call being served. Where there
// is no key at all, ctx is returned as it is.
func Sub(ctx context.Context, part string) context.Context {
	key := rpc.OutgoingIdempotencyKey(ctx)
	if key == "" {
		key = rpc.IdempotencyKey(ctx)
	}
	if key == "" {
		return ctx
	}
	sub := key + "#" + url.PathEscape(part) // which escapes "#"
	if CheckKey(sub) != nil {
		sum := sha256.Sum256([]byte(sub))
		sub = "sub-" + hex.EncodeToString(sum[:])
	}
	return rpc.WithIdempotencyKey(ctx, sub)
}
