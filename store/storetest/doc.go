// Package storetest is the suite that every store adapter passes. A failure
// names the rule of [store.Engine] or [store.Conn] that was broken.
//
//	func TestConformance(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) storetest.Target {
//			return storetest.Target{Opener: sqlite.Opener{}, Options: store.OpenOptions{Dir: t.TempDir()}}
//		})
//	}
package storetest
