package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/argosy-go/argosy/store"
)

// durability is what decides whether a commit lasts.
type durability struct{ fsync, fullPageWrites, synchronousCommit string }

const selectDurability = "SELECT current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit')"

// check returns an error that says what to set, unless commits last.
func (d durability) check() error {
	for _, s := range []struct{ name, value, harm string }{
		{"fsync", d.fsync, "a crash of the machine takes back commits, or all of the database"},
		{"full_page_writes", d.fullPageWrites, "a crash of the machine may leave pages half written"},
		{"synchronous_commit", d.synchronousCommit, "a crash takes back commits that were acknowledged"},
	} {
		if s.value == "off" || s.value == "local" {
			return errNotDurable.WithMessage("%s is %s on the server: %s; set it to on, for the server, the database or the role", s.name, s.value, s.harm)
		}
	}
	return nil
}

// checkServer is run on every new connection: the settings of a server may
// change while the service runs.
func checkServer(ctx context.Context, conn *pgx.Conn) error {
	var d durability
	var encoding string
	err := conn.QueryRow(ctx, selectDurability+", current_setting('server_encoding')").
		Scan(&d.fsync, &d.fullPageWrites, &d.synchronousCommit, &encoding)
	if err != nil {
		return fmt.Errorf("read the settings of the server: %w", err)
	}
	if encoding != "UTF8" {
		return errEncoding.WithMessage("the database is in %s: make one with ENCODING 'UTF8'", encoding)
	}
	conn.PgConn().CustomData()[commitKey] = "SET LOCAL synchronous_commit TO " + pgx.Identifier{d.synchronousCommit}.Sanitize() + "; COMMIT"
	return d.check()
}

// commitKey is where a connection keeps its commit: one that waits as the
// connection did when it was made, whatever the transaction has set since. A
// SET is refused, but set_config is a function, and functions call functions.
const commitKey = "argosy commit"

// commitOf returns the statements that commit on a connection.
func commitOf(conn *pgx.Conn) string { return conn.PgConn().CustomData()[commitKey].(string) }

// checkReading refuses a connection on which a statement means something else
// than what was checked ([check]).
func checkReading(conn *pgx.Conn) error {
	if conn.PgConn().ParameterStatus("standard_conforming_strings") != "on" {
		return store.ErrForbidden.WithMessage("standard_conforming_strings was turned off in a transaction")
	}
	return nil
}
