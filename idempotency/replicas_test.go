package idempotency_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/idempotency"
	"github.com/argosy-go/argosy/store"
)

// onReplicas runs a test on two replicas of a service, on each store that can
// have them.
func onReplicas(t *testing.T, test func(t *testing.T, replicas [2]*store.DB)) {
	t.Helper()
	for name, k := range kinds() {
		if name == "sqlite" { // refuses a second one
			continue
		}
		t.Run(name, func(t *testing.T) {
			home := k(t)
			test(t, [2]*store.DB{home.open(t), home.open(t)})
		})
	}
}

func TestCopiesAtTwoReplicasHaveOneEffectAndOneReply(t *testing.T) {
	const rounds, copies = 5, 64
	soldOut := fault.New(codes.FailedPrecondition, "SOLD_OUT", "sold out")
	onReplicas(t, func(t *testing.T, replicas [2]*store.DB) {
		for round := range rounds {
			key, sold := fmt.Sprint("k", round), round%2 == 1
			replies, errs := make([]*number, copies), make([]error, copies)
			var runs atomic.Int32
			var ready, all sync.WaitGroup
			ready.Add(copies)
			for i := range copies {
				all.Go(func() {
					ready.Done()
					ready.Wait()
					replies[i], errs[i] = idempotency.Do(incoming(t, key), replicas[i%2], wrapperspb.String("a"), func(ctx context.Context, tx *store.Tx) (*number, error) {
						runs.Add(1)
						n, err := place(ctx, tx)
						if sold {
							err = errors.Join(err, soldOut)
						}
						return n, err
					})
				})
			}
			all.Wait()
			for i := range copies {
				if sold && !errors.Is(errs[i], soldOut) {
					t.Errorf("copy %d got %v and not the error that is the reply", i, errs[i])
				}
				if !sold && (errs[i] != nil || !proto.Equal(replies[i], replies[0])) {
					t.Errorf("copy %d got %v, %v and copy 0 %v", i, replies[i], errs[i], replies[0])
				}
			}
			if runs.Load() != 1 {
				t.Errorf("the work was done %d times", runs.Load())
			}
		}
		if n := effects(t, replicas[0]); n != (rounds+1)/2 {
			t.Errorf("%d effects of %d requests that succeeded", n, (rounds+1)/2)
		}
	})
}

func TestACopyAtAnotherReplicaGoesOnWhenTheFirstFails(t *testing.T) {
	onReplicas(t, func(t *testing.T, replicas [2]*store.DB) {
		running, leave := make(chan struct{}), make(chan struct{})
		away := fault.New(codes.Unavailable, "AWAY", "away")
		var first, second sync.WaitGroup
		first.Go(func() {
			_, err := idempotency.Do(incoming(t, "k"), replicas[0], wrapperspb.String("a"), func(ctx context.Context, tx *store.Tx) (*number, error) {
				n, err := place(ctx, tx)
				close(running)
				<-leave
				return n, errors.Join(err, away)
			})
			if !errors.Is(err, away) {
				t.Error(err)
			}
		})
		<-running
		began := make(chan struct{})
		second.Go(func() {
			close(began)
			n, err := idempotency.Do(incoming(t, "k"), replicas[1], wrapperspb.String("a"), place)
			if err != nil || !isEffect(t, replicas[1], n) {
				t.Errorf("the copy got %v, %v", n, err)
			}
		})
		<-began
		close(leave)
		first.Wait()
		second.Wait()
		if n := effects(t, replicas[0]); n != 1 {
			t.Errorf("%d effects", n)
		}
	})
}

func TestAKeyIsReusedAlsoAtAnotherReplica(t *testing.T) {
	onReplicas(t, func(t *testing.T, replicas [2]*store.DB) {
		if _, err := idempotency.Do(incoming(t, "k"), replicas[0], wrapperspb.String("a"), place); err != nil {
			t.Fatal(err)
		}
		_, err := idempotency.Do(incoming(t, "k"), replicas[1], wrapperspb.String("b"), place)
		if !errors.Is(err, idempotency.ErrKeyReused) {
			t.Errorf("got %v", err)
		}
	})
}

func TestRepliesGrowOldByTheClockOfTheProgram(t *testing.T) {
	onBothStores(t, func(t *testing.T, kind kind) {
		var ahead atomic.Int64
		home := kind(t)
		home.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		db := home.open(t)
		for i, jump := range []time.Duration{0, 47 * time.Hour, 49 * time.Hour} {
			ahead.Store(int64(jump))
			if _, err := idempotency.Do(incoming(t, fmt.Sprint("k", i)), db, wrapperspb.String("a"), place); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- idempotency.Janitor(db, 0).Run(ctx) }()
		late, tick := time.After(20*time.Second), time.Tick(time.Millisecond)
		for count(t, db, "argosy_idempotency WHERE idem_key = 'k0'") != 0 {
			select {
			case <-tick:
			case <-late:
				t.Fatal("the reply of two days ago is still there")
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if n := count(t, db, "argosy_idempotency"); n != 2 {
			t.Errorf("%d replies are left of the two that are not old", n)
		}
	})
}
