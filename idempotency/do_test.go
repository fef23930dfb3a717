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
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/idempotency"
	"github.com/argosy-go/argosy/rpc"
	"github.com/argosy-go/argosy/store"
)

type (
	number = wrapperspb.Int64Value
)

// incoming is the context of a call by alice.
func incoming(t testing.TB, key string) context.Context {
	return as(t.Context(), auth.Principal{Subject: "alice"}, key)
}

func as(ctx context.Context, p auth.Principal, key string) context.Context {
	return auth.With(rpc.WithIncoming(ctx, "/test.Orders/Place", key), p)
}

// place writes an effect and replies with its number.
func place(ctx context.Context, tx *store.Tx) (*number, error) {
	var n int64
	err := tx.QueryRowContext(ctx, "INSERT INTO effects (what) VALUES ('x') RETURNING seq").Scan(&n)
	return wrapperspb.Int64(n), err
}

// effects counts what place wrote.
func effects(t testing.TB, db *store.DB) (n int) {
	t.Helper()
	return count(t, db, "effects")
}

// isEffect reports whether a reply is that of an effect which is there.
func isEffect(t testing.TB, db *store.DB, reply *number) bool {
	t.Helper()
	return count(t, db, fmt.Sprint("effects WHERE seq = ", reply.GetValue())) == 1
}

func count(t testing.TB, db *store.DB, what string) (n int) {
	t.Helper()
	err := db.Read(context.Background(), func(ctx context.Context, q store.Querier) error {
		return q.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+what).Scan(&n)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestManyCopiesAtOnceHaveOneEffectAndOneReply(t *testing.T) {
	onBothStores(t, func(t *testing.T, home kind) {
		db := home(t).open(t)
		const copies = 64
		replies := make([]*number, copies)
		var ready, all sync.WaitGroup
		ready.Add(copies)
		for i := range copies {
			all.Go(func() {
				ready.Done()
				ready.Wait()
				var err error
				replies[i], err = idempotency.Do(incoming(t, "k"), db, wrapperspb.String("a"), place)
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := effects(t, db); n != 1 {
			t.Errorf("%d effects of one request", n)
		}
		for i, r := range replies {
			if !proto.Equal(r, replies[0]) {
				t.Errorf("copy %d got %v and copy 0 %v", i, r, replies[0])
			}
		}
	})
}

func TestAReplySurvivesARestart(t *testing.T) {
	onBothStores(t, func(t *testing.T, home kind) {
		same := home(t)
		db := same.open(t, (*store.DB).RunTwice)
		first, err := idempotency.Do(incoming(t, "k"), db, wrapperspb.String("a"), place)
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		db = same.open(t)
		again, err := idempotency.Do(incoming(t, "k"), db, wrapperspb.String("a"), place)
		if err != nil || !proto.Equal(first, again) {
			t.Fatalf("first %v, again %v, %v", first, again, err)
		}
		if n := effects(t, db); n != 1 {
			t.Errorf("%d effects", n)
		}
	})
}

func TestAKeyBelongsToItsCallerMethodAndRequest(t *testing.T) {
	onBothStores(t, func(t *testing.T, home kind) {
		alice := auth.Principal{Subject: "alice"}
		for name, c := range map[string]struct {
			ctx  func(ctx context.Context) context.Context
			req  proto.Message
			want error
			runs int
		}{
			"the same request again":  {func(ctx context.Context) context.Context { return as(ctx, alice, "k") }, wrapperspb.String("a"), nil, 1},
			"another request":         {func(ctx context.Context) context.Context { return as(ctx, alice, "k") }, wrapperspb.String("b"), idempotency.ErrKeyReused, 1},
			"another type of request": {func(ctx context.Context) context.Context { return as(ctx, alice, "k") }, wrapperspb.Bytes([]byte("a")), idempotency.ErrKeyReused, 1},
			"another key":             {func(ctx context.Context) context.Context { return as(ctx, alice, "l") }, wrapperspb.String("a"), nil, 2},
			"another caller":          {func(ctx context.Context) context.Context { return as(ctx, auth.Principal{Subject: "bob"}, "k") }, wrapperspb.String("a"), nil, 2},
			"a service for the caller": {func(ctx context.Context) context.Context {
				return as(ctx, auth.Principal{Subject: "alice", Service: "order"}, "k")
			}, wrapperspb.String("a"), nil, 2},
			"a person named like a service's call": {func(ctx context.Context) context.Context { return as(ctx, auth.Principal{Subject: "order/alice"}, "k") }, wrapperspb.String("a"), nil, 2},
			"nobody":                               {func(ctx context.Context) context.Context { return rpc.WithIncoming(ctx, "/test.Orders/Place", "k") }, wrapperspb.String("a"), nil, 2},
			"another method": {func(ctx context.Context) context.Context {
				return auth.With(rpc.WithIncoming(ctx, "/test.Orders/Cancel", "k"), alice)
			}, wrapperspb.String("a"), nil, 2},
		} {
			t.Run(name, func(t *testing.T) {
				db := home(t).open(t)
				if _, err := idempotency.Do(incoming(t, "k"), db, wrapperspb.String("a"), place); err != nil {
					t.Fatal(err)
				}
				if _, err := idempotency.Do(c.ctx(t.Context()), db, c.req, place); !errors.Is(err, c.want) {
					t.Errorf("got %v and not %v", err, c.want)
				}
				if n := effects(t, db); n != c.runs {
					t.Errorf("%d effects and not %d", n, c.runs)
				}
			})
		}
	})
}

func TestAnErrorThatIsAFactIsStoredAndItsEffectUndone(t *testing.T) {
	onBothStores(t, func(t *testing.T, home kind) {
		stock := fault.New(codes.FailedPrecondition, "SOLD_OUT", "sold out").WithMetadata("sku", "1").WithRetryAfter(time.Minute)
		for name, c := range map[string]struct {
			err    error
			stored bool
		}{
			"failed precondition": {stock, true},
			"wrapped":             {fmt.Errorf("reserve: %w", stock), true},
			"not found":           {fault.New(codes.NotFound, "NO_SUCH", "no such order"), true},
			"already exists":      {fault.New(codes.AlreadyExists, "EXISTS", "exists"), true},
			"a gRPC status":       {status.Error(codes.OutOfRange, "far out"), true},
			"invalid argument":    {fault.Invalid("lines", "too many"), false},
			"unavailable":         {fault.New(codes.Unavailable, "AWAY", "away"), false},
			"too many":            {fault.New(codes.ResourceExhausted, "QUOTA", "too many"), false},
			"unauthenticated":     {fault.New(codes.Unauthenticated, "", "who?"), false},
			"a plain error":       {errors.New("disk"), false},
		} {
			t.Run(name, func(t *testing.T) {
				db := home(t).open(t, (*store.DB).RunTwice)
				_, first := idempotency.Do(incoming(t, "k"), db, wrapperspb.String("a"), func(ctx context.Context, tx *store.Tx) (*number, error) {
					n, err := place(ctx, tx)
					return n, errors.Join(err, c.err)
				})
				if first == nil {
					t.Fatal("no error")
				}
				if n := effects(t, db); n != 0 {
					t.Errorf("%d effects of a call that failed", n)
				}
				_, again := idempotency.Do(incoming(t, "k"), db, wrapperspb.String("a"), place)
				if !c.stored {
					if again != nil || effects(t, db) != 1 {
						t.Errorf("the copy did not run: %v", again)
					}
					return
				}
				a, b := fault.From(first), fault.From(again)
				if b == nil || !proto.Equal(a.GRPCStatus().Proto(), b.GRPCStatus().Proto()) {
					t.Errorf("first %v, again %v", first, again)
				}
			})
		}
	})
}

func TestAPanicStoresNothingAndFreesTheCopies(t *testing.T) {
	onBothStores(t, func(t *testing.T, home kind) {
		db := home(t).open(t)
		running, leave := make(chan struct{}), make(chan struct{})
		var copies sync.WaitGroup
		var panics atomic.Int32
		copies.Go(func() {
			defer func() {
				if recover() != nil {
					panics.Add(1)
				}
			}()
			_, err := idempotency.Do(incoming(t, "k"), db, wrapperspb.String("a"), func(ctx context.Context, tx *store.Tx) (*number, error) {
				_, err := place(ctx, tx)
				close(running)
				<-leave
				panic(err)
			})
			t.Error("returned", err)
		})
		<-running
		for range 8 {
			copies.Go(func() {
				n, err := idempotency.Do(incoming(t, "k"), db, wrapperspb.String("a"), place)
				if err != nil || !isEffect(t, db, n) {
					t.Errorf("a copy got %v, %v", n, err)
				}
			})
		}
		close(leave)
		copies.Wait()
		if n := effects(t, db); n != 1 || panics.Load() != 1 {
			t.Errorf("%d effects, %d panics", n, panics.Load())
		}
	})
}

func TestACopyIsToldToComeBackOnlyWhenItsDeadlineComesFirst(t *testing.T) {
	onBothStores(t, func(t *testing.T, home kind) {
		db := home(t).open(t)
		running, leave := make(chan struct{}), make(chan struct{})
		var first sync.WaitGroup
		first.Go(func() {
			_, err := idempotency.Do(incoming(t, "k"), db, wrapperspb.String("a"), func(ctx context.Context, tx *store.Tx) (*number, error) {
				close(running)
				<-leave
				return place(ctx, tx)
			})
			if err != nil {
				t.Error(err)
			}
		})
		<-running
		for name, c := range map[string]struct {
			end  func(ctx context.Context) (context.Context, context.CancelFunc)
			code codes.Code
		}{
			"a deadline": {func(ctx context.Context) (context.Context, context.CancelFunc) {
				return context.WithTimeout(ctx, 20*time.Millisecond)
			}, codes.Aborted},
			"a caller that goes away": {func(ctx context.Context) (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancel(ctx)
				cancel()
				return ctx, cancel
			}, codes.Canceled},
		} {
			ctx, cancel := c.end(incoming(t, "k"))
			_, err := idempotency.Do(ctx, db, wrapperspb.String("a"), place)
			f := fault.From(err)
			if f == nil || f.Code != c.code || f.NotDone {
				t.Errorf("%s: got %v", name, err)
			}
			if c.code == codes.Aborted && (!errors.Is(err, idempotency.ErrInFlight) || f.RetryAfter == 0 || f.HTTPStatus() != 409) {
				t.Errorf("%s: got %v, retry after %v, HTTP %d", name, err, f.RetryAfter, f.HTTPStatus())
			}
			cancel()
		}
		close(leave)
		first.Wait()
	})
}

func TestACopyTakesOverFromACallerThatWentAway(t *testing.T) {
	onBothStores(t, func(t *testing.T, home kind) {
		db := home(t).open(t)
		ctx, cancel := context.WithCancel(incoming(t, "k"))
		running := make(chan struct{})
		var first sync.WaitGroup
		first.Go(func() {
			_, err := idempotency.Do(ctx, db, wrapperspb.String("a"), func(ctx context.Context, tx *store.Tx) (*number, error) {
				close(running)
				<-ctx.Done()
				return nil, ctx.Err()
			})
			if fault.CodeOf(err) != codes.Canceled {
				t.Error(err)
			}
		})
		<-running
		var second sync.WaitGroup
		second.Go(func() {
			n, err := idempotency.Do(incoming(t, "k"), db, wrapperspb.String("a"), place)
			if err != nil || !isEffect(t, db, n) {
				t.Errorf("the copy got %v, %v", n, err)
			}
		})
		cancel()
		first.Wait()
		second.Wait()
	})
}

func TestWithoutAKeyEveryCallRuns(t *testing.T) {
	onBothStores(t, func(t *testing.T, home kind) {
		db := home(t).open(t)
		for range 2 {
			if _, err := idempotency.Do(incoming(t, ""), db, wrapperspb.String("a"), place); err != nil {
				t.Fatal(err)
			}
		}
		if n := effects(t, db); n != 2 {
			t.Errorf("%d effects of two calls", n)
		}
		if n := count(t, db, "argosy_idempotency"); n != 0 {
			t.Errorf("%d stored replies", n)
		}
	})
}

func TestWhatIsNoCallOfDo(t *testing.T) {
	onBothStores(t, func(t *testing.T, home kind) {
		db := home(t).open(t)
		bare := store.NewDB("bare")
		for name, c := range map[string]struct {
			do   func() error
			want error
		}{
			"inside a transaction": {func() error {
				return db.Do(incoming(t, "k"), func(ctx context.Context, tx *store.Tx) error {
					_, err := idempotency.Do(ctx, db, wrapperspb.String("a"), place)
					return err
				})
			}, idempotency.ErrInside},
			"a database without replies": {func() error {
				_, err := idempotency.Do(incoming(t, "k"), bare, wrapperspb.String("a"), place)
				return err
			}, idempotency.ErrNotInstalled},
			"a key that is too long": {func() error {
				_, err := idempotency.Do(incoming(t, string(make([]byte, 256))), db, wrapperspb.String("a"), place)
				return err
			}, idempotency.ErrKey},
			"a key with a tab": {func() error {
				_, err := idempotency.Do(incoming(t, "a\tb"), db, wrapperspb.String("a"), place)
				return err
			}, idempotency.ErrKey},
			"no reply": {func() error {
				_, err := idempotency.Do(incoming(t, "k"), db, wrapperspb.String("a"), func(context.Context, *store.Tx) (*number, error) { return nil, nil })
				return err
			}, fault.New(codes.Internal, "REPLY_NIL", "")},
		} {
			t.Run(name, func(t *testing.T) {
				if err := c.do(); !errors.Is(err, c.want) {
					t.Errorf("got %v and not %v", err, c.want)
				}
				if n := effects(t, db) + count(t, db, "argosy_idempotency"); n != 0 {
					t.Errorf("%d rows of a call that was refused", n)
				}
			})
		}
	})
}

// outdated stores n replies that are older than any is kept.
func outdated(t *testing.T, db *store.DB, n int) {
	t.Helper()
	err := db.Do(t.Context(), func(ctx context.Context, tx *store.Tx) error {
		for i := range n {
			_, err := tx.ExecContext(ctx, `INSERT INTO argosy_idempotency (caller, method, idem_key, fingerprint, code, reply_type, reply, at)
				VALUES ('', '', $1, '', 0, '', '', $2)`, fmt.Sprint("old", i), store.At(time.Now().Add(-49*time.Hour)))
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestTheJanitorDeletesOldRepliesAndEndsWithItsContext(t *testing.T) {
	onBothStores(t, func(t *testing.T, home kind) {
		db := home(t).open(t)
		outdated(t, db, 1200) // more than one of its transactions deletes
		if _, err := idempotency.Do(incoming(t, "new"), db, wrapperspb.String("a"), place); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- idempotency.Janitor(db, time.Nanosecond).Run(ctx) }() // it keeps them for a day all the same
		late, tick := time.After(20*time.Second), time.Tick(time.Millisecond)
		for count(t, db, "argosy_idempotency") != 1 {
			select {
			case <-tick:
			case err := <-ended:
				t.Fatalf("the janitor went home: %v", err)
			case <-late:
				t.Fatalf("%d replies are left", count(t, db, "argosy_idempotency"))
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func FuzzCheckKey(f *testing.F) {
	for _, s := range []string{"", "a", " ", "\x7f", "é", "0199f0aa-7c1e-7c7e-9a3b-1c2d3e4f5a6b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		printable := len(s) >= 1 && len(s) <= 255
		for _, r := range []byte(s) {
			printable = printable && r >= 32 && r <= 126
		}
		if err := idempotency.CheckKey(s); (err == nil) != printable {
			t.Errorf("%q: %v", s, err)
		}
	})
}
