package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/store"
)

var (
	// errPoolEmpty: the service has all its connections in use.
	errPoolEmpty = fault.New(codes.Unavailable, "STORE_POOL_EXHAUSTED", "all connections to the store are in use").Refused()
	// errUnreachable: there is no connection to the server.
	errUnreachable = fault.New(codes.Unavailable, "STORE_UNREACHABLE", "the store cannot be reached").Refused()
	// errLost: the connection was lost before COMMIT was sent.
	errLost = fault.New(codes.Unavailable, "STORE_CONNECTION_LOST", "the connection to the store was lost; nothing was written").Refused()
	// errNotDurable: the server, or the session, acknowledges what a crash takes back.
	errNotDurable = fault.New(codes.FailedPrecondition, "STORE_NOT_DURABLE", "the store acknowledges commits that a crash takes back").Refused()
	// errEncoding: the database does not keep all texts.
	errEncoding = fault.New(codes.FailedPrecondition, "STORE_NOT_UTF8", "the database of the store is not in UTF-8").Refused()
	// errConflict: the transaction was in the way of others, again and again.
	errConflict = fault.New(codes.Aborted, "TRANSACTION_CONFLICT", "the transaction was in conflict with others; nothing was written").Refused()
	// errCanceled: the server broke off a statement that nobody here gave up. The
	// cancellation of an earlier statement of the connection came late, or an
	// operator asked for it.
	errCanceled = fault.New(codes.Aborted, "TRANSACTION_CANCELED", "the server broke the transaction off; nothing was written").Refused()
)

// The SQLSTATEs that mean something to the engine.
const (
	codeSerialization = "40001"
	codeDeadlock      = "40P01"
	codeCanceled      = "57014"
	codeIdle          = "25P03" // idle_in_transaction_session_timeout
	codeDiskFull      = "53100"
	codePlan          = "0A000" // among others: a cached plan has become invalid
)

// explain turns an error of a statement, given with ctx, into the store's.
func explain(ctx context.Context, err error, closed bool) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch {
		case pg.Code == codeSerialization || pg.Code == codeDeadlock:
			return errConflict.Wrap(err)
		case pg.Code == codePlan && pg.Routine == "RevalidateCachedQuery":
			return errConflict.Wrap(err) // somebody migrates; the next attempt has a new plan
		case pg.Code == codeIdle:
			return store.ErrRevoked.Wrap(err)
		case pg.Code == codeDiskFull:
			return store.ErrFull.Wrap(err)
		case pg.Code == codeCanceled && ctx.Err() != nil:
			return ctx.Err()
		case pg.Code == codeCanceled:
			return errCanceled.Wrap(err)
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if closed || fatal(pg) {
		return errLost.Wrap(err)
	}
	return err
}

// passing reports whether the reason of an error may be gone when the whole
// function is run again. Nothing has been written.
func passing(err error) bool {
	return errors.Is(err, errConflict) || errors.Is(err, errLost) || errors.Is(err, errCanceled)
}

// fatal reports whether the server said that it ends the connection. What
// became of the statement, it did not say.
func fatal(pg *pgconn.PgError) bool {
	return pg != nil && (pg.SeverityUnlocalized == "FATAL" || pg.SeverityUnlocalized == "PANIC")
}
