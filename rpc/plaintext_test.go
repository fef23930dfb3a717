package rpc

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc/credentials"
)

// at is a connection to an address.
type at struct {
	net.Conn
	addr net.Addr
}

func (c at) RemoteAddr() net.Addr { return c.addr }

func TestNothingLeavesTheMachineInTheClearUnlessItIsSaid(t *testing.T) {
	to := func(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 9090} }
	for name, c := range map[string]struct {
		addr  net.Addr
		creds credentials.TransportCredentials
		want  string
	}{
		"another machine":                  {to("10.0.0.7"), DialOptions{}.credentials(), "in the clear"},
		"another machine, by IPv6":         {to("fd00::7"), DialOptions{}.credentials(), "in the clear"},
		"another machine, a copy of them":  {to("10.0.0.7"), DialOptions{}.credentials().Clone(), "in the clear"},
		"all interfaces":                   {to("0.0.0.0"), DialOptions{}.credentials(), "in the clear"},
		"this machine":                     {to("127.0.0.1"), DialOptions{}.credentials(), ""},
		"this machine, by IPv6":            {to("::1"), DialOptions{}.credentials(), ""},
		"a socket of this machine":         {&net.UnixAddr{Name: "/run/order.sock", Net: "unix"}, DialOptions{}.credentials(), ""},
		"another machine, when it is said": {to("10.0.0.7"), DialOptions{Credentials: Plaintext()}.credentials(), ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := c.creds.ClientHandshake(t.Context(), "order", at{addr: c.addr})
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestRefusedConnectionsAreLoggedButNotEachOfAStorm(t *testing.T) {
	var out strings.Builder
	refused := tellRefusals(slog.New(slog.NewTextHandler(&out, nil)))
	from := &net.TCPAddr{IP: net.ParseIP("10.0.0.7"), Port: 9090}
	refused(from, io.EOF) // a probe
	for range 100 {
		refused(from, errors.New("the peer is of another fleet"))
	}
	if n := strings.Count(out.String(), "from=10.0.0.7:9090 error=\"the peer is of another fleet\""); n < 1 || n > 50 {
		t.Errorf("logged %d times:\n%s", n, &out)
	}
}
