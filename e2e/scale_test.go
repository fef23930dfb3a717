//go:build unix

package e2e

import (
	"context"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/argosy-go/argosy/discovery/discoverytest"
	"github.com/argosy-go/argosy/e2e/mill/millpb"
)

// TestAReplicaThatIsAddedGetsItsShareAndOneThatDiesLosesIt runs a kiosk that
// finds its mills by DNS, as the processes of a headless service of Kubernetes
// are found, and watches what each of them gets.
func TestAReplicaThatIsAddedGetsItsShareAndOneThatDiesLosesIt(t *testing.T) {
	bin, names, key := buildMill(t), discoverytest.StartNameServer(t), filepath.Join(t.TempDir(), "signer.key")
	var mills []*fleet
	known := func(mills ...*fleet) {
		names.Change(func(z *discoverytest.Zone) {
			z.TTL, z.Hosts["node.test."], z.Services["_grpc._tcp.mill.test."] = 1, []string{"127.0.0.1"}, nil
			for _, m := range mills {
				_, port, _ := strings.Cut(m.addrs.GRPC, ":")
				n, err := strconv.ParseUint(port, 10, 16)
				if err != nil {
					t.Fatal(err)
				}
				z.Services["_grpc._tcp.mill.test."] = append(z.Services["_grpc._tcp.mill.test."], discoverytest.SRV{Target: "node.test.", Port: uint16(n)})
			}
		})
	}
	add := func() {
		mills = append(mills, start(t, bin, t.TempDir(), "ARGOSY_ONLY=mill", "ARGOSY_AUTH_KEY="+key, "MILL_WORKERS=100", "MILL_TAKES=5ms"))
		known(mills...)
	}
	add()
	add()
	kiosk := start(t, bin, t.TempDir(), "ARGOSY_ONLY=kiosk", "ARGOSY_AUTH_KEY="+key, "ARGOSY_PEERS=mill=dns://"+names.Addr()+"/_grpc._tcp.mill.test.")
	stop := buyFrom(t, kiosk)

	share := func(m *fleet) (mine, all int) {
		before := make([]int, len(mills))
		for i, m := range mills {
			before[i] = m.metric("argosy_rpc_server_handled_total", "/Grind")
		}
		<-time.After(time.Second)
		for i, other := range mills {
			n := other.metric("argosy_rpc_server_handled_total", "/Grind") - before[i]
			if all += n; other == m {
				mine = n
			}
		}
		return mine, all
	}
	if mine, all := share(mills[1]); mine*3 < all {
		t.Errorf("one of two gets %d of %d calls", mine, all)
	}
	add()
	<-time.After(4 * time.Second)
	mine, all := share(mills[2])
	t.Logf("in its fifth second, the third gets %d of %d calls", mine, all)
	if mine*4 < all {
		t.Errorf("in its fifth second, the third gets %d of %d calls", mine, all)
	}
	mills[0].kill()
	mills = mills[1:]
	if mine, all := share(mills[1]); mine*3 < all {
		t.Errorf("one of the two that are left gets %d of %d calls", mine, all)
	}
	known(mills...)
	if bought, failed := stop(); len(failed) > 0 {
		t.Errorf("of %d purchases %d failed: %v", bought, len(failed), failed[0])
	}
}

// buyFrom has a hundred customers a second buy from a kiosk, until stop, which
// returns how many did and the errors that they got.
func buyFrom(t *testing.T, kiosk *fleet) (stop func() (bought int, failed []error)) {
	t.Helper()
	conn, err := grpc.NewClient(kiosk.addrs.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var running sync.WaitGroup
	var bought int
	var failed []error
	buy := func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		_, err := millpb.NewKioskClient(conn).Buy(ctx, &millpb.BuyRequest{})
		mu.Lock()
		defer mu.Unlock()
		if bought++; err != nil {
			failed = append(failed, err)
		}
	}
	running.Go(func() {
		for tick := time.Tick(10 * time.Millisecond); ctx.Err() == nil; <-tick {
			running.Go(buy)
		}
	})
	end := sync.OnceFunc(func() {
		cancel()
		running.Wait()
		_ = conn.Close()
	})
	t.Cleanup(end)
	return func() (int, []error) {
		end()
		return bought, failed
	}
}
