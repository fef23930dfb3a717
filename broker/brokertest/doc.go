// Package brokertest holds the suite that every broker adapter passes: the
// numbered rules of package broker, each as a test that says which rule was
// broken.
//
//	func TestConformance(t *testing.T) {
//		brokertest.Run(t, brokertest.Adapter{
//			New: func(t *testing.T) func() broker.Broker {
//				dir := t.TempDir()
//				return func() broker.Broker { return open(t, dir) }
//			},
//		})
//	}
package brokertest
