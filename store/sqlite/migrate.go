package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io/fs"

	"github.com/argosy-go/argosy/internal/mutant"
	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/store/internal/migration"
)

// migrate applies a set on the writing connection. It does not wait for the
// disk: the log keeps the order of commits, so the first transaction that is
// acknowledged takes the migrations before it to the disk, and if the power
// goes before that, they are applied again.
func migrate(ctx context.Context, r *raw, set string, files fs.FS) (err error) {
	if !mutant.NoFsync {
		if err := r.set(setting{"synchronous", "NORMAL", "1"}); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.set(synchronous())) }()
	}
	db := sql.OpenDB(borrowed{r.conn})
	db.SetMaxOpenConns(1)
	defer func() { err = errors.Join(err, db.Close()) }()
	return migration.Up(ctx, db, store.SQLite, set, files)
}

// borrowed lends database/sql a connection that it does not close.
type borrowed struct{ conn driverConn }

func (b borrowed) Connect(context.Context) (driver.Conn, error) { return lent{b.conn}, nil }
func (b borrowed) Driver() driver.Driver                        { return facadeDriver{} }

type lent struct{ driverConn }

func (lent) Close() error { return nil }
