// Package memory is a broker in the memory of the process, for tests and for
// programs that may forget: what it holds ends with the process, and nothing
// is on a disk.
//
//	server := memory.NewServer()
//	b, err := server.Open(ctx, broker.OpenOptions{}) // as often as one likes
//	errs := b.Publish(ctx, messages)
//
// A [Server] outlives the connections to it, as a real broker outlives the
// programs that use it. It is an opener of brokers, so a program that is
// started twice in one test finds its messages again:
//
//	engine.Set{Brokers: map[string]broker.Opener{"memory": server}, DefaultBroker: "memory:"}
//
// It passes the suite of package brokertest.
package memory
