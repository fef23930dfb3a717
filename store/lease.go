package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
)

//go:embed lease/*.sql
var leaseFiles embed.FS

// LeaseSet is the name of the migration set that makes the table of leases.
const LeaseSet = "argosy_lease"

// LeaseMigrations returns the migrations of the table of leases, for
// DB.Migrations([LeaseSet], …). A mechanism that uses leases adds them.
func LeaseMigrations() fs.FS { return leaseFiles }

// ErrLeaseLost: somebody else has claimed the lease since. Nothing that was
// done under it in this transaction may commit.
var ErrLeaseLost = fault.New(codes.Aborted, "LEASE_LOST", "the lease is held by another worker now").Refused()

// Lease is the right of one holder to do one thing, until it expires. Its
// epoch is the fence: it rises each time the lease changes hands, so whoever
// writes under a lease calls [Lease.Check] in the same transaction, and a
// worker that slept past its expiry changes nothing.
//
// A Lease is a value and is not kept up to date: it says what was claimed.
type Lease struct {
	Name   string
	Holder string
	Epoch  int64
}

// ClaimLease claims the named lease for holder until now+ttl. It reports false
// when another holder's claim has not expired. Who holds the lease already
// gets it extended, under the same epoch; anybody else gets a higher one, once
// the transactions that have called [Lease.Check] have ended.
//
// The holder is never empty, and unique to one start of one process.
func ClaimLease(ctx context.Context, tx *Tx, name, holder string, now time.Time, ttl time.Duration) (Lease, bool, error) {
	if name == "" || holder == "" {
		return Lease{}, false, fmt.Errorf("claim lease %q for %q: a lease needs a name and a holder", name, holder)
	}
	l := Lease{Name: name, Holder: holder}
	claimed, err := l.claim(ctx, tx, now, ttl)
	if err != nil {
		return Lease{}, false, fmt.Errorf("claim lease %q: %w", name, err)
	}
	if !claimed {
		return Lease{}, false, nil
	}
	return l, true, nil
}

// claim sets the epoch. It looks before it writes: only a claim that changes
// hands may lock the epoch, and wait for those who work under it.
func (l *Lease) claim(ctx context.Context, tx *Tx, now time.Time, ttl time.Duration) (bool, error) {
	var holder string
	var expires Time
	err := tx.QueryRowContext(ctx, `SELECT holder, epoch, expires_at FROM argosy_leases WHERE name = $1`, l.Name).Scan(&holder, &l.Epoch, &expires)
	switch {
	case errors.Is(err, sql.ErrNoRows):
	case err != nil:
		return false, err
	case holder == l.Holder:
		if err := l.Renew(ctx, tx, now, ttl); !errors.Is(err, ErrLeaseLost) {
			return err == nil, err
		} // since it was read
	case now.Before(expires.Time):
		return false, nil
	}
	err = tx.QueryRowContext(ctx, `
		INSERT INTO argosy_leases (name, holder, epoch, expires_at) VALUES ($1, $2, 1, $3)
		ON CONFLICT (name) DO UPDATE SET
			epoch = argosy_leases.epoch + CASE WHEN argosy_leases.holder = excluded.holder THEN 0 ELSE 1 END,
			holder = excluded.holder,
			expires_at = excluded.expires_at
		WHERE argosy_leases.holder = excluded.holder OR argosy_leases.expires_at <= $4
		RETURNING epoch`, l.Name, l.Holder, At(now.Add(ttl)), At(now)).Scan(&l.Epoch)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// Renew makes the lease last until now+ttl. It succeeds as long as nobody else
// has claimed the lease, also after its expiry, and is [ErrLeaseLost] otherwise.
func (l Lease) Renew(ctx context.Context, tx *Tx, now time.Time, ttl time.Duration) error {
	res, err := tx.ExecContext(ctx, `UPDATE argosy_leases SET expires_at = $4 WHERE name = $1 AND holder = $2 AND epoch = $3`,
		l.Name, l.Holder, l.Epoch, At(now.Add(ttl)))
	if err != nil {
		return fmt.Errorf("renew lease %q: %w", l.Name, err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return fmt.Errorf("renew lease %q: %w", l.Name, err)
	}
	if n == 0 {
		return l.lost()
	}
	return nil
}

// Check returns [ErrLeaseLost] unless the lease is still the holder's, under
// the same epoch. Call it in the transaction that writes under the lease: from
// then on nobody else can claim the lease before the transaction has ended, so
// it does not look at the clock. Transactions that check the same lease, and
// those that renew it, do not wait for each other.
func (l Lease) Check(ctx context.Context, tx *Tx) error {
	query := `SELECT epoch FROM argosy_leases WHERE name = $1 AND holder = $2 AND epoch = $3`
	if tx.dialect == Postgres {
		query += ` FOR KEY SHARE` // the epoch is in a key; a store that runs one transaction at a time needs no lock
	}
	var epoch int64
	err := tx.QueryRowContext(ctx, query, l.Name, l.Holder, l.Epoch).Scan(&epoch)
	if errors.Is(err, sql.ErrNoRows) {
		return l.lost()
	}
	if err != nil {
		return fmt.Errorf("check lease %q: %w", l.Name, err)
	}
	return nil
}

// Release lets anybody claim the lease at once. The epoch is remembered. A
// lease that was lost is left alone, without an error.
func (l Lease) Release(ctx context.Context, tx *Tx) error {
	_, err := tx.ExecContext(ctx, `UPDATE argosy_leases SET holder = '', expires_at = 0 WHERE name = $1 AND holder = $2 AND epoch = $3`,
		l.Name, l.Holder, l.Epoch)
	if err != nil {
		return fmt.Errorf("release lease %q: %w", l.Name, err)
	}
	return nil
}

func (l Lease) lost() error { return ErrLeaseLost.WithMetadata("lease", l.Name) }
