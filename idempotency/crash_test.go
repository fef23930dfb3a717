package idempotency_test

import (
	"context"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/argosy-go/argosy/idempotency"
	"github.com/argosy-go/argosy/store"
)

var errPower = errors.New("power failure")

// fragile is a store whose power fails at one of the points before and after
// its transactions.
type fragile struct {
	store.Engine
	home      *home
	at, point int
}

func (f *fragile) Open(ctx context.Context, o store.OpenOptions) (store.Engine, error) {
	e, err := f.home.opener.Open(ctx, o)
	f.Engine = e
	return f, err
}

// spend passes a point and reports whether there is still power.
func (f *fragile) spend() bool {
	f.point++
	return f.at == 0 || f.point < f.at
}

func (f *fragile) Write(ctx context.Context, fn func(store.Conn) error) error {
	if !f.spend() {
		return errPower
	}
	err := f.Engine.Write(ctx, fn)
	if !f.spend() {
		return store.ErrUnknown
	}
	return err
}

func TestACrashAtAnyPointLeavesTheEffectWithItsReplyOrNeither(t *testing.T) {
	onBothStores(t, func(t *testing.T, kind kind) {
		for at := 1; ; at++ {
			home := kind(t)
			db := home.handle()
			if err := db.Open(t.Context(), &fragile{home: home, at: at}, home.options); err != nil {
				t.Fatal(err)
			}
			first, err := idempotency.Do(incoming(t, "k"), db, wrapperspb.String("a"), place)
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			db = home.open(t)
			again, errAgain := idempotency.Do(incoming(t, "k"), db, wrapperspb.String("a"), place)
			if n := effects(t, db); n != 1 || errAgain != nil {
				t.Errorf("after a failure at point %d the request had %d effects, %v", at, n, errAgain)
			}
			if err == nil {
				if !proto.Equal(first, again) {
					t.Errorf("first %v, again %v", first, again)
				}
				return // the power outlasted the call
			}
		}
	})
}
