package idempotency

import (
	"embed"
	"io/fs"
	"time"

	"github.com/argosy-go/argosy/store"
)

//go:embed migrations
var embedded embed.FS

// Migrations returns the migrations of the table of replies.
func Migrations() fs.FS { return embedded }

// Install makes a database able to keep replies: [Do] needs it. now is the
// clock by which they grow old; nil: time.Now. Call it before the database is
// opened; calling it again changes nothing. A fleet installs every database of
// its services.
func Install(db *store.DB, now func() time.Time) {
	if now == nil {
		now = time.Now
	}
	db.Migrations("argosy_idempotency", Migrations())
	store.Part(db, func() *flights { return &flights{now: now, running: map[scope]*flight{}} })
}
