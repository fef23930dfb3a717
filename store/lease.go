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
// gets it extended, under the same epoch; anybody else gets a higher one.
//
// The holder is never empty, and unique to one start of one process.
func ClaimLease(ctx context.Context, tx *Tx, name, holder string, now time.Time, ttl time.Duration) (Lease, bool, error) {
	if name == "" || holder == "" {
		return Lease{}, false, fmt.Errorf("claim lease %q for %q: a lease needs a name and a holder", name, holder)
	}
	l := Lease{Name: name, Holder: holder}
	err := tx.QueryRowContext(ctx, `
		INSERT INTO argosy_leases (name, holder, epoch, expires_at) VALUES ($1, $2, 1, $3)
		ON CONFLICT (name) DO UPDATE SET
			epoch = argosy_leases.epoch + CASE WHEN argosy_leases.holder = excluded.holder THEN 0 ELSE 1 END,
			holder = excluded.holder,
			expires_at = excluded.expires_at
		WHERE argosy_leases.holder = excluded.holder OR argosy_leases.expires_at <= $4
		RETURNING epoch`, name, holder, At(now.Add(ttl)), At(now)).Scan(&l.Epoch)
	if errors.Is(err, sql.ErrNoRows) {
		return Lease{}, false, nil
	}
	if err != nil {
		return Lease{}, false, fmt.Errorf("claim lease %q: %w", name, err)
	}
	return l, true, nil
}

// Renew makes the lease last until now+ttl. It succeeds as long as nobody else
// has claimed the lease, also after its expiry, and is [ErrLeaseLost] otherwise.
func (l Lease) Renew(ctx context.Context, tx *Tx, now time.Time, ttl time.Duration) error {
	res, err := tx.ExecContext(ctx, `UPDATE argosy_leases SET expires_at = $4 WHERE name = $1 AND holder = $2 AND epoch = $3`,
		l.Name, l.Holder, l.Epoch, At(now.Add(ttl)))
	return l.held("renew", res, err)
}

// Check returns [ErrLeaseLost] unless the lease is still the holder's, under
// the same epoch. Call it in the transaction that writes under the lease; it
// does not look at the clock, since nobody else can have claimed the lease
// before the transaction commits.
func (l Lease) Check(ctx context.Context, tx *Tx) error {
	// An UPDATE, so that a store that runs transactions in parallel makes a claim wait.
	res, err := tx.ExecContext(ctx, `UPDATE argosy_leases SET epoch = epoch WHERE name = $1 AND holder = $2 AND epoch = $3`,
		l.Name, l.Holder, l.Epoch)
	return l.held("check", res, err)
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

// held turns a statement that touches the row of the lease into an answer.
func (l Lease) held(verb string, res sql.Result, err error) error {
	if err != nil {
		return fmt.Errorf("%s lease %q: %w", verb, l.Name, err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return fmt.Errorf("%s lease %q: %w", verb, l.Name, err)
	}
	if n == 0 {
		return ErrLeaseLost.WithMetadata("lease", l.Name)
	}
	return nil
}
