package store

import "context"

// Adopt runs fn with a Tx on a transaction that somebody else has begun and
// will end: what fn writes, publishes and starts commits with it. It is what an
// adapter offers to a service that has transactions of its own already; c is
// that transaction. When fn fails, everything it did is undone, and c goes on.
//
// committed runs what waits for the commit ([Tx.AfterCommit]): call it after
// the commit has succeeded. Forgotten, workers find their work a little later.
// fn is run once: a transaction that is in conflict is its owner's to run again.
func (db *DB) Adopt(ctx context.Context, c Conn, fn func(ctx context.Context, tx *Tx) error) (committed func(), err error) {
	if Inside(ctx) {
		return nil, ErrNested
	}
	e := db.engine.Load()
	if e == nil {
		return nil, ErrNotOpen.WithMetadata("service", db.service)
	}
	dialect := (*e).Dialect()
	if db.twice {
		if err := db.rehearse(ctx, dialect, c, fn); err != nil {
			return nil, err
		}
	}
	tx := newTx(ctx, db, dialect, c)
	if err := c.Try(ctx, func() error { return tx.run(fn) }); err != nil {
		return nil, err
	}
	return tx.committed, nil
}
