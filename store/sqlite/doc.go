// Package sqlite is the store in a file: one SQLite database a service, with
// nothing to install.
//
//	engine, err := sqlite.Opener{}.Open(ctx, store.OpenOptions{Service: "order", Dir: "/var/lib/shop"})
//
// Services reach it through [store.DB]; programs choose it with the URL
// "sqlite:". An audit reads a file beside the running service with [OpenReader].
//
// # Writing
//
// Transactions that arrive together share a commit, and so an fsync:
//
//	BEGIN IMMEDIATE
//	  SAVEPOINT   function of caller A   RELEASE
//	  SAVEPOINT   function of caller B   ROLLBACK TO, RELEASE   (it failed)
//	  SAVEPOINT   function of caller C   RELEASE
//	COMMIT                               fsync of the log
//	A, B and C learn what became of them
//
// Functions run one after the other, on the goroutine that holds the role of
// the writer; to each caller it is as if it were alone. See docs/decisions for
// how panics, runtime.Goexit, idle functions and failed commits are kept to
// the one whom they concern.
//
// # Reading
//
// Each read has a connection of its own and a snapshot. It holds every commit
// that was acknowledged before.
package sqlite
