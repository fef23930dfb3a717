// Package breaking finds what a change of contracts breaks, and whom: callers
// over gRPC, callers over REST, and consumers of events.
//
//	was, err := breaking.FromGit(ctx, dir, "main")
//	…
//	is, err := breaking.FromDir(dir)
//	…
//	old, err := breaking.Compile(ctx, was)
//	…
//	now, err := breaking.Compile(ctx, is)
//	…
//	for _, c := range breaking.Compare(old, now, time.Now()) {
//		fmt.Println(c.Name, c.What, c.Whom)
//	}
//
// A contract is compared as its users see it: protobuf's rules for the wire,
// and those of JSON on top, since on REST names count, and a field that is
// unknown is refused; the routes of google.api.http with the verb, the path and
// the body; the topic and the key of an event; who may call a method, and
// whether it may be retried. Names of files, order and comments mean nothing.
package breaking
