package sqlite_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/store/sqlite"
)

// An audit reads the file of a service, whether the service runs or not.
func ExampleOpenReader() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	orders := store.NewDB("order")
	orders.Migrations("service", table)
	if err := orders.Open(ctx, sqlite.Opener{}, store.OpenOptions{Dir: dir}); err != nil {
		log.Fatal(err)
	}
	defer func() { _ = orders.Close() }()

	audit, err := sqlite.OpenReader(ctx, sqlite.Path(dir, "order"))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = audit.Close() }()
	err = audit.Read(ctx, func(ctx context.Context, q store.Querier) error {
		var n int
		if err := q.QueryRowContext(ctx, "SELECT count(*) FROM t").Scan(&n); err != nil {
			return err
		}
		fmt.Println("rows:", n)
		return nil
	})
	fmt.Println(err)
	// Output:
	// rows: 0
	// <nil>
}
