package saga

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// Call makes a step of a method of a generated client: build makes the request
// from the state, absorb puts what is needed of the reply into the state.
//
//	saga.Do("reserve", saga.Call(inventory.Reserve, reserveOf, reserved)).
//		Undo(saga.Call(inventory.Release, releaseOf))
//
// build must give the same request for the same state, since the call is
// repeated under one key. An undo must not need what absorb stored: the reply
// may have been lost.
func Call[S proto.Message, Req, Res any](
	method func(ctx context.Context, req Req, opts ...grpc.CallOption) (Res, error),
	build func(state S) Req,
	absorb ...func(state S, res Res),
) func(ctx context.Context, state S) error {
	return func(ctx context.Context, state S) error {
		res, err := method(ctx, build(state))
		if err != nil {
			return err
		}
		for _, f := range absorb {
			f(state, res)
		}
		return nil
	}
}
