package idempotency_test

import (
	"context"
	"fmt"
	"os"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/argosy-go/argosy/idempotency"
	"github.com/argosy-go/argosy/rpc"
	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/store/sqlite"
)

func Example() {
	dir, err := os.MkdirTemp("", "idempotency")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	db := store.NewDB("tickets")
	db.Migrations("service", tables)
	idempotency.Install(db, nil) // a fleet does this for every service
	if err := db.Open(context.Background(), sqlite.Opener{}, store.OpenOptions{Dir: dir}); err != nil {
		panic(err)
	}
	defer db.Close()

	buy := func(ctx context.Context, seat string) (*wrapperspb.Int64Value, error) {
		return idempotency.Do(ctx, db, wrapperspb.String(seat), func(ctx context.Context, tx *store.Tx) (*wrapperspb.Int64Value, error) {
			var n int64
			err := tx.QueryRowContext(ctx, "INSERT INTO effects (what) VALUES ($1) RETURNING seq", seat).Scan(&n)
			return wrapperspb.Int64(n), err
		})
	}
	ctx := rpc.WithIncoming(context.Background(), "/tickets.v1.Tickets/Buy", "a-key") // as the server does
	first, _ := buy(ctx, "A1")
	again, _ := buy(ctx, "A1")
	_, other := buy(ctx, "B2")
	fmt.Println("ticket", first.Value, "and again ticket", again.Value)
	fmt.Println(other)
	// Output:
	// ticket 1 and again ticket 1
	// InvalidArgument IDEMPOTENCY_KEY_REUSED: the idempotency key was used for another request
}
