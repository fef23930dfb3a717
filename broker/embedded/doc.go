// Package embedded runs a JetStream server inside the process and speaks to it
// without a network. What is acknowledged has been fsynced: the server runs
// with sync always, which its default is not.
//
//	b, err := embedded.Opener{}.Open(ctx, broker.OpenOptions{Dir: "data"})
//
// One process uses a directory; a second one is refused.
package embedded
