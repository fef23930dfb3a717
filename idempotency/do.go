package idempotency

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/internal/mutant"
	"github.com/argosy-go/argosy/rpc"
	"github.com/argosy-go/argosy/store"
)

var (
	// ErrInside: Do was called inside a transaction or a consumer. What is
	// done on the given Tx happens once already.
	ErrInside = fault.New(codes.Internal, "IDEMPOTENCY_INSIDE_TRANSACTION", "idempotency.Do was called inside a transaction: use the Tx that the function was given")
	// ErrNotInstalled: the database keeps no replies.
	ErrNotInstalled = fault.New(codes.Internal, "IDEMPOTENCY_NOT_INSTALLED", "idempotency.Install was not called for the database")
)

// Do runs fn in a transaction on db, once for the idempotency key of the call
// in ctx, and gives every copy of the call the reply of that run. Without a key
// it is db.Do.
//
// fn is a transaction function: it may be run more than once, and changes
// nothing but the database. Its reply must not be nil. An error that is a fact
// of the domain (NOT_FOUND, ALREADY_EXISTS, FAILED_PRECONDITION, OUT_OF_RANGE)
// undoes what fn wrote and is stored as the reply. Any other error and a panic
// store nothing, and a copy that waited runs fn.
//
// Do returns [ErrKeyReused] for another request under the same key,
// [ErrInFlight] when the deadline of ctx comes before the end of a copy, and
// [ErrKey] for a malformed key.
func Do[Req, Res proto.Message](ctx context.Context, db *store.DB, req Req, fn func(ctx context.Context, tx *store.Tx) (Res, error)) (Res, error) {
	var none Res
	if store.Inside(ctx) {
		return none, ErrInside
	}
	key := rpc.IdempotencyKey(ctx)
	if key == "" {
		return plain(ctx, db, fn)
	}
	c, err := newCall(ctx, db, req, key)
	if err != nil {
		return none, err
	}
	for {
		fl, begun := c.flights.join(c.scope)
		if begun {
			return lead(ctx, c, fl, fn)
		}
		if err := fl.wait(ctx); err != nil {
			return none, err
		}
		if fl.kept != nil {
			return replay[Res](c, fl.kept)
		}
	}
}

// call is a call with a key.
type call struct {
	db          *store.DB
	flights     *flights
	scope       scope
	fingerprint []byte
}

func newCall(ctx context.Context, db *store.DB, req proto.Message, key string) (*call, error) {
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	c := &call{db: db, flights: store.Find[flights](db), scope: scopeOf(ctx, req, key)}
	if c.flights == nil {
		return nil, ErrNotInstalled.WithMetadata("service", db.Service())
	}
	var err error
	c.fingerprint, err = fingerprintOf(req)
	return c, err
}

// plain runs fn without a key.
func plain[Res proto.Message](ctx context.Context, db *store.DB, fn func(context.Context, *store.Tx) (Res, error)) (Res, error) {
	var res, none Res
	err := db.Do(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
		res, err = fn(ctx, tx)
		return err
	})
	if err != nil {
		return none, err
	}
	return res, nil
}

// lead runs the call for itself and for the copies that wait. The deferred end
// frees them also when fn panics.
func lead[Res proto.Message](ctx context.Context, c *call, fl *flight, fn func(context.Context, *store.Tx) (Res, error)) (Res, error) {
	var (
		none, res Res
		fact      error   // the domain error that fn returned
		made      *record // what this call stores
		found     *record // what an earlier one stored
		committed bool
	)
	defer func() {
		if !committed {
			made, found = nil, nil
		}
		c.flights.end(c.scope, fl, either(made, found))
	}()
	err := c.db.Do(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
		res, fact, made = none, nil, nil
		var at place
		if at, found, err = c.begin(ctx, tx); err != nil || found != nil {
			return err
		}
		if res, fact, err = try(ctx, tx, fn); err != nil {
			return err
		}
		if made, err = newRecord(c.fingerprint, res, fact); err != nil || mutant.ReplyOutside {
			return err
		}
		return made.save(ctx, tx, at)
	})
	if err == nil && mutant.ReplyOutside && found == nil {
		err = c.db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
			at, _, err := reserve(ctx, tx, c.scope, c.fingerprint, c.flights.now())
			if err != nil {
				return err
			}
			return made.save(ctx, tx, at)
		})
	}
	if err != nil {
		return none, err
	}
	committed = true
	switch {
	case found != nil:
		return replay[Res](c, found)
	case fact != nil:
		return none, fact
	}
	return res, nil
}

// begin reserves the row of the call's reply, or finds what an earlier call
// has stored there.
func (c *call) begin(ctx context.Context, tx *store.Tx) (at place, found *record, err error) {
	if mutant.ReplyOutside {
		found, err = load(ctx, tx, c.scope)
		return "", found, err
	}
	for {
		at, reserved, err := reserve(ctx, tx, c.scope, c.fingerprint, c.flights.now())
		if err != nil || reserved {
			return at, nil, err
		}
		if found, err := load(ctx, tx, c.scope); err != nil || found != nil {
			return "", found, err
		} // it was too old, and has been deleted since
	}
}

func either(a, b *record) *record {
	if a != nil {
		return a
	}
	return b
}

// try runs fn in a savepoint. An error that is a fact has undone what fn wrote
// and leaves the transaction whole; it is returned apart from other errors.
func try[Res proto.Message](ctx context.Context, tx *store.Tx, fn func(context.Context, *store.Tx) (Res, error)) (res Res, fact, err error) {
	err = tx.Try(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
		res, err = fn(ctx, tx)
		return err
	})
	switch {
	case err != nil && isFact(err):
		return res, fault.From(err), nil
	case err != nil:
		return res, nil, err
	case any(res) == nil || !res.ProtoReflect().IsValid():
		return res, nil, fault.New(codes.Internal, "REPLY_NIL", "the function returned neither a reply nor an error")
	}
	return res, nil, nil
}

// replay gives a stored reply to a copy.
func replay[Res proto.Message](c *call, r *record) (Res, error) {
	var none Res
	res := none.ProtoReflect().Type().New().Interface().(Res)
	if err := r.into(c.fingerprint, res); err != nil {
		return none, err
	}
	return res, nil
}
