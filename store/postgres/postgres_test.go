package postgres_test

import (
	"os"
	"testing"

	"github.com/argosy-go/argosy/internal/pgtest"
	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/store/postgres"
	"github.com/argosy-go/argosy/store/storetest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Target {
		return storetest.Target{Opener: postgres.Opener{MaxConns: 20}, Options: store.OpenOptions{URL: pgtest.Database(t)}, Parallel: true}
	})
}
