package e2e

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

func TestARequestThatTheShopTookIsAnsweredInADrain(t *testing.T) {
	f := start(t, build(t, ""), t.TempDir())
	f.signIn("customer@shop.test")
	p := f.products()
	var answered, refused atomic.Int64
	var all sync.WaitGroup
	begun := make(chan struct{}, 16)
	for range 16 {
		all.Go(func() {
			for {
				r, err := f.call("GET", "/v1/products/"+p[0], "", nil)
				switch {
				case err == nil && r.status == 200:
					if answered.Add(1) > 200 {
						select {
						case begun <- struct{}{}:
						default:
						}
					}
				case errors.Is(err, syscall.ECONNREFUSED): // the door is closed: another replica would serve it
					refused.Add(1)
					return
				default:
					var op *net.OpError
					if errors.As(err, &op) && op.Op == "dial" {
						return
					}
					t.Errorf("a request that was taken got %d, %v", r.status, err)
					return
				}
			}
		})
	}
	<-begun
	if err := f.stop(); err != nil {
		t.Errorf("drain: %v\n%s", err, f.out)
	}
	all.Wait()
	t.Logf("%d requests answered, %d refused at the door", answered.Load(), refused.Load())
}
