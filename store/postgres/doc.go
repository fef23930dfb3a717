// Package postgres is the store on a Postgres server: a schema a service, or a
// database a service, and as many replicas as one likes.
//
//	engine, err := postgres.Opener{}.Open(ctx, store.OpenOptions{
//		Service: "order",
//		URL:     "postgres://shop@db.internal/shop", // or …/{service}
//	})
//
// Services reach it through [store.DB]; programs choose it with the URL
// "postgres://…". See [Opener.Open] for what the URL may say.
//
// # Writing
//
// Each function has a connection and a transaction of its own:
//
//	BEGIN ISOLATION LEVEL SERIALIZABLE
//	  the function                     (again from BEGIN, after a conflict)
//	COMMIT                             the log is on the disk
//	the caller learns what became of it
//
// Serializable, because SQLite is: a function that is right on one store is
// right on the other. A service that is right under less declares it
// ([store.DB.Isolation]). What Postgres takes back because of a conflict
// (SQLSTATE 40001), a deadlock (40P01) or a connection lost before COMMIT is
// run again, a bounded number of times. A connection lost during COMMIT is
// [store.ErrUnknown].
//
// COMMIT waits for the disk whatever the transaction has set, and a server that
// does not is refused. A service that begins transactions of its own hands them
// in with [Adopt].
//
// # Reading
//
// A read is a READ ONLY, REPEATABLE READ transaction: one snapshot, which no
// writer waits for and which waits for no writer.
//
// # Replicas
//
// Leases fence ([store.Lease]), locks of keys give sequence numbers the order
// of commits ([store.LockKeys]), and notifications wake the other replicas
// ([store.Notifier]): the three are built for many replicas at work at once,
// and put no transactions into conflict that have nothing to do with each other.
//
// # Connections
//
// A replica of a service has up to MaxConns connections for transactions, 3
// unless it is told otherwise, and one that listens. Whoever finds none free for
// AcquireTimeout is refused with STORE_POOL_EXHAUSTED, and nothing was done.
// Sagas and consumers wait instead, one of them at a time in the queue: a
// service that is behind with its work still answers.
// Connections hold settings and prepared statements, so a pooler between them
// and the server must be one that keeps sessions.
package postgres
