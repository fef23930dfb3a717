package idempotency

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
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
// In a handler the key is made from that of the call being served, its method
// and its caller: for whom it is called next, all callers are one, this service,
// and two of them may have chosen the same key. Where there is no key at all,
// ctx is returned as it is.
func Sub(ctx context.Context, part string) context.Context {
	if key := rpc.OutgoingIdempotencyKey(ctx); key != "" {
		sub := key + "#" + url.PathEscape(part) // which escapes "#"
		if CheckKey(sub) != nil {
			sub = digest(sub)
		}
		return rpc.WithIdempotencyKey(ctx, sub)
	}
	key := rpc.IdempotencyKey(ctx)
	if key == "" {
		return ctx
	}
	return rpc.WithIdempotencyKey(ctx, digest(callerOf(ctx), rpc.MethodName(ctx), key, part))
}

// digest returns a key that stands for the parts.
func digest(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return "sub-" + hex.EncodeToString(h.Sum(nil))
}
