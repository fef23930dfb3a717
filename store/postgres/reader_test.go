package postgres_test

import (
	"context"
	"strings"
	"testing"

	"github.com/argosy-go/argosy/internal/pgtest"
	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/store/postgres"
)

func TestAReaderReadsAndMakesNothing(t *testing.T) {
	url := pgtest.Database(t)
	if _, err := postgres.OpenReader(t.Context(), url, "order"); err == nil || !strings.Contains(err.Error(), "no schema order") {
		t.Fatalf("a schema that is not there: %v", err)
	}
	e, err := postgres.Opener{}.Open(t.Context(), store.OpenOptions{Service: "order", URL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	r, err := postgres.OpenReader(t.Context(), url, "order")
	if err != nil {
		t.Fatal(err)
	}
	err = r.Read(t.Context(), func(ctx context.Context, q store.Querier) error {
		_, err := q.ExecContext(ctx, "CREATE TABLE t (id BIGINT)")
		return err
	})
	if err == nil {
		t.Error("a reader made a table")
	}
	for range 2 {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}
