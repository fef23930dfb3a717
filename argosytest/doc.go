// Package argosytest is the test kit for services: a fleet in a test, with
// everything in it that goes wrong at three in the morning.
//
//	func TestAnOrderIsPlaced(t *testing.T) {
//		f := argosytest.Start(t, order.Service, inventory.Service)
//		orders := argosytest.Client(f, customer, orderpb.NewOrdersClient)
//		... // call it, then
//		f.AwaitQuiet(t)
//	}
//
// [Start] runs the services in the process of the test, on stores in a
// temporary directory and a broker in memory. Every transaction function is
// run twice and every call goes through bytes, so that what only works once,
// or only inside one process, is found.
//
// [CrashEverywhere] runs the same work again and again and kills the process
// at every commit and every call to the broker in turn, before it and after
// it; starts it again, waits until it is quiet, and checks what must hold:
//
//	argosytest.CrashEverywhere(t, func(t testing.TB) argosytest.Scenario {
//		client := &client{} // what was acknowledged; it outlives the crash
//		return argosytest.Scenario{
//			Config:    argosytest.Config{Services: fleet},
//			Work:      client.placeOneOrder, // is called again after a crash
//			Invariant: client.oneOrderOneCapture,
//		}
//	})
//
// [Unreliable] makes a broker lose requests, replies and acknowledgements,
// deliver again and in another order; [Network] does the same to the calls
// between services; [Clock] jumps. All of them are seeded: one seed, one run.
//
// Package argosytest/torture does such things to real processes, and package
// argosytest/powercut pulls the plug of their disk.
package argosytest
