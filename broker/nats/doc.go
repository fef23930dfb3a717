// Package nats carries messages over NATS JetStream. One stream holds all
// topics, so that one atomic batch, and one fsync of the server, stores
// messages of many; the subject of a message ends in its partition:
//
//	argosy.ev.<topic>.<partition>
//
//	b, err := nats.Opener{}.Open(ctx, broker.OpenOptions{URL: "nats://127.0.0.1:4222"})
//
// In a cluster three servers keep each message, or as many as the URL says:
// nats://a:4222,nats://b:4222,nats://c:4222?replicas=3.
//
// Publications of concurrent callers are gathered and sent as atomic batches
// (ADR-50 of NATS), from nats-server 2.12 on; an older server stores messages
// one by one. A batch that holds an id which the server knows already is
// refused whole; messages are then sent one by one, in order, until the known
// ones are passed, and the known ones count as stored.
//
// An error of Publish other than a message's own is ErrUnavailable or
// ErrClosed: the message may have been stored, and is sent again under its id.
package nats
