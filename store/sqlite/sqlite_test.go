package sqlite_test

import (
	"testing"

	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/store/sqlite"
	"github.com/argosy-go/argosy/store/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Target {
		return storetest.Target{Opener: sqlite.Opener{}, Options: store.OpenOptions{Dir: t.TempDir()}}
	})
}
