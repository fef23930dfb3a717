package idempotency

import (
	"embed"
	"io/fs"

	"github.com/argosy-go/argosy/store"
)

//go:embed migrations
var embedded embed.FS

// Migrations returns the migrations of the table of replies.
func Migrations() fs.FS { return embedded }

// Install makes a database able to keep replies: [Do] needs it. Call it before
// the database is opened; calling it again changes nothing. A fleet installs
// every database of its services.
func Install(db *store.DB) {
	db.Migrations("argosy_idempotency", Migrations())
	store.Part(db, newFlights)
}
