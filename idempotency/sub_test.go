package idempotency_test

import (
	"context"
	"strings"
	"testing"

	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/idempotency"
	"github.com/argosy-go/argosy/rpc"
)

func TestPartsOfACallHaveKeysOfTheirOwn(t *testing.T) {
	step := rpc.WithIdempotencyKey(t.Context(), "run/step")
	ann, bob := auth.With(t.Context(), auth.Principal{Subject: "ann"}), auth.With(t.Context(), auth.Principal{Subject: "bob"})
	handler := rpc.WithIncoming(ann, "/test.Orders/Place", "k")
	seen := map[string]string{}
	for name, of := range map[string]func() context.Context{
		"the step itself":       func() context.Context { return step },
		"a part":                func() context.Context { return idempotency.Sub(step, "a") },
		"another part":          func() context.Context { return idempotency.Sub(step, "b") },
		"an empty part":         func() context.Context { return idempotency.Sub(step, "") },
		"a part of a part":      func() context.Context { return idempotency.Sub(idempotency.Sub(step, "a"), "b") },
		"a part with a slash":   func() context.Context { return idempotency.Sub(step, "a/b") },
		"a part with a hash":    func() context.Context { return idempotency.Sub(step, "a#b") },
		"a part in other words": func() context.Context { return idempotency.Sub(step, "größe") },
		"a very long part":      func() context.Context { return idempotency.Sub(step, strings.Repeat("x", 300)) },
		"a very long other":     func() context.Context { return idempotency.Sub(step, strings.Repeat("x", 301)) },
		"a part of a handler":   func() context.Context { return idempotency.Sub(handler, "a") },
		"one of another method": func() context.Context { return idempotency.Sub(rpc.WithIncoming(ann, "/test.Orders/Cancel", "k"), "a") },
		"one of another caller": func() context.Context { return idempotency.Sub(rpc.WithIncoming(bob, "/test.Orders/Place", "k"), "a") },
	} {
		key := rpc.OutgoingIdempotencyKey(of())
		if err := idempotency.CheckKey(key); err != nil {
			t.Errorf("%s has the key %q: %v", name, key, err)
		}
		if other, twice := seen[key]; twice {
			t.Errorf("%s and %s share the key %q", name, other, key)
		}
		if again := rpc.OutgoingIdempotencyKey(of()); again != key {
			t.Errorf("%s has the key %q and then %q", name, key, again)
		}
		seen[key] = name
	}
	if ctx := t.Context(); idempotency.Sub(ctx, "a") != ctx {
		t.Error("without a key there is a part of it")
	}
}
