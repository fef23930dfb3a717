package postgres

import (
	"net"
	"syscall"
	"testing"

	"github.com/argosy-go/argosy/store"
)

func TestANetworkThatIsCutIsNoticedInSeconds(t *testing.T) {
	config, err := Opener{}.config(store.OpenOptions{Service: "order", URL: "postgres://u@127.0.0.1/d"})
	if err != nil {
		t.Fatal(err)
	}
	listen, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listen.Close() }()
	conn, err := config.ConnConfig.DialFunc(t.Context(), "tcp", listen.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		for name, c := range map[string]struct{ level, option, most int }{
			"keepalives":                               {syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
			"silence about what was sent, in ms":       {syscall.IPPROTO_TCP, tcpUserTimeout, 10_000},
			"silence before the first keepalive, in s": {syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, 5},
			"time between keepalives, in s":            {syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, 2},
			"keepalives that are not answered":         {syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, 3},
		} {
			got, err := syscall.GetsockoptInt(int(fd), c.level, c.option)
			if err != nil || got == 0 || got > c.most {
				t.Errorf("%s: %d, %v: want 1 to %d", name, got, err, c.most)
			}
		}
	})
	if err != nil {
		t.Error(err)
	}
}
