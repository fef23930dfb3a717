// Command poison puts a message that cannot be decoded into the outbox of a
// service, as a program that knows nothing of the contract would: it goes to
// the broker and to every consumer.
//
//	poison DATABASE TYPE ID
package main

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"time"

	_ "modernc.org/sqlite"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: poison DATABASE TYPE ID")
		os.Exit(2)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := poison(ctx, os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "poison:", err)
		os.Exit(1)
	}
}

func poison(ctx context.Context, path, kind, id string) error {
	db, err := sql.Open("sqlite", "file:"+url.PathEscape(path)+"?mode=rw&_txlock=immediate&_pragma=busy_timeout(20000)")
	if err != nil {
		return err
	}
	defer db.Close()
	now := time.Now().UnixMicro()
	_, err = db.ExecContext(ctx, `INSERT INTO argosy_outbox (id, topic, part, event_key, event_type, at, expires, trace, body)
		VALUES ($1, $2, 0, $1, $2, $3, 0, '', $4)`, id, kind, now, []byte("\xff\xffnot a message"))
	return err
}
