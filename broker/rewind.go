package broker

import (
	"context"
	"time"
)

// Rewinder is what a [Broker] may be besides: one that can take the position
// of a durable subscription back, so that a consumer sees again what it has
// acknowledged.
//
//  1. After Rewind has returned nil, the next receiver of the subscription
//     begins with the oldest message stored at from or later that is still
//     kept, also when there was no position before. s.Start says nothing.
//  2. A receiver that is open meanwhile may end with an error; the caller has
//     none open.
type Rewinder interface {
	Rewind(ctx context.Context, s Subscription, from time.Time) error
}

// Keeper is what a [Broker] may be besides: one that knows for how long it
// keeps messages, and so for how long it can deliver them again. Zero: forever.
type Keeper interface {
	MaxAge() time.Duration
}
