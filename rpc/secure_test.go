package rpc_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"

	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/rpc"
)

// byName is an authenticator whose tokens are the names of services, or of people.
type byName struct{}

func (byName) Authenticate(_ context.Context, bearer string) (auth.Principal, error) {
	if service, ok := strings.CutPrefix(bearer, "service/"); ok {
		return auth.Principal{Subject: bearer, Service: service, Roles: []string{auth.RoleService}}, nil
	}
	return auth.Principal{Subject: bearer}, nil
}

func process(t testing.TB, ca *auth.LocalCA, services ...string) *auth.TLS {
	t.Helper()
	f, err := ca.Write(t.TempDir(), "process", services...)
	if err != nil {
		t.Fatal(err)
	}
	x, err := auth.OpenTLS(auth.TLSConfig{Cert: f.Cert, Key: f.Key, CA: f.CA})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func newCA(t testing.TB) *auth.LocalCA {
	t.Helper()
	ca, err := auth.NewLocalCA(auth.LocalCAConfig{Fleet: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// serving serves the test contract as service stock and returns its address.
func serving(t testing.TB, c rpc.ServerConfig) (*rpc.Server, string) {
	t.Helper()
	s := rpc.NewServer(c)
	if err := s.Register("stock", &pb.TestService_ServiceDesc, &tester{ended: make(chan struct{}, 1)}); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, l.Addr().String()
}

// call calls the server as whom the token is of.
func call(t testing.TB, address, token string, creds credentials.TransportCredentials) error {
	t.Helper()
	conn, closer, err := rpc.Dial(address, rpc.DialOptions{
		Credentials: creds, Token: func(context.Context) (string, error) { return token, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	return empty(t, conn)
}

func empty(t testing.TB, conn grpc.ClientConnInterface) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := pb.NewTestServiceClient(conn).EmptyCall(ctx, &pb.Empty{})
	return err
}

const testService = "grpc.testing.TestService"

func TestAServiceIsWhoItsCertificateSays(t *testing.T) {
	ca := newCA(t)
	_, address := serving(t, rpc.ServerConfig{
		Authenticator: byName{}, TLS: process(t, ca, "stock"), Callers: map[string][]string{testService: {"order", "cart"}},
	})
	order, both, web, other := process(t, ca, "order"), process(t, ca, "order", "cart"), process(t, ca, "web"), process(t, newCA(t), "order")
	for name, c := range map[string]struct {
		from          *auth.TLS
		token, reason string
		code          codes.Code
	}{
		"a service that declares it":                {order, "service/order", "", codes.OK},
		"one of the services of a process":          {both, "service/cart", "", codes.OK},
		"the service itself":                        {process(t, ca, "stock"), "service/stock", "", codes.OK},
		"a service with the token of another":       {web, "service/order", rpc.ReasonCallerUncertified, codes.PermissionDenied},
		"a service that does not declare it":        {web, "service/web", rpc.ReasonCallerUndeclared, codes.PermissionDenied},
		"a process that passes on a person's token": {web, "ann", "", codes.OK},
		"a certificate of another CA":               {other, "service/order", "", codes.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			err := call(t, address, c.token, rpc.ClientTLS(c.from, "stock"))
			if e := fault.From(err); fault.CodeOf(err) != c.code || c.reason != "" && e.Reason != c.reason {
				t.Errorf("got %v, want %v %s", err, c.code, c.reason)
			}
		})
	}
	if err := call(t, address, "service/order", rpc.ClientTLS(order, "payment")); fault.CodeOf(err) != codes.Unavailable || !strings.Contains(err.Error(), "the peer is spiffe://shop/stock, not spiffe://shop/payment") {
		t.Errorf("as if it were another service: %v", err)
	}
}

// Whoever is woken by one of these errors reads what to do.
func TestConnectionsThatCannotBeSayWhatToDo(t *testing.T) {
	ca := newCA(t)
	past := func() time.Time { return time.Now().Add(-6 * 24 * time.Hour) } // the day of a CA that has ended
	ended, err := auth.NewLocalCA(auth.LocalCAConfig{Fleet: "shop", Now: past, Life: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	f, err := ended.Write(t.TempDir(), "stock", "stock")
	if err != nil {
		t.Fatal(err)
	}
	forgetful, err := auth.OpenTLS(auth.TLSConfig{Cert: f.Cert, Key: f.Key, CA: f.CA, Now: past})
	if err != nil {
		t.Fatal(err)
	}
	_, secure := serving(t, rpc.ServerConfig{Authenticator: byName{}, TLS: process(t, ca, "stock")})
	_, clear := serving(t, rpc.ServerConfig{Authenticator: byName{}})
	_, old := serving(t, rpc.ServerConfig{Authenticator: byName{}, TLS: forgetful})
	order := process(t, ca, "order")
	for name, c := range map[string]struct {
		address string
		creds   credentials.TransportCredentials
		want    string
	}{
		"in the clear where certificates are taken":            {secure, nil, "give this process --tls-cert, --tls-key and --tls-ca"},
		"in the clear, as is said":                             {secure, rpc.Plaintext(), "give this process --tls-cert, --tls-key and --tls-ca"},
		"with certificates where everybody talks in the clear": {clear, rpc.ClientTLS(order, "stock"), "talks in the clear, and this process has certificates"},
		"with a certificate of another CA":                     {secure, trusting(t, newCA(t), ca), "compare --tls-cert here and --tls-ca there"},
		"to one whose certificate has ended":                   {old, trusting(t, ca, ended), "expired or is not yet valid"},
	} {
		t.Run(name, func(t *testing.T) {
			err := call(t, c.address, "service/order", c.creds)
			if c.want == "" && err != nil || c.want != "" && (fault.CodeOf(err) != codes.Unavailable || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// trusting returns the credentials of a process whose own certificate is of one
// CA, and which trusts another.
func trusting(t testing.TB, own, other *auth.LocalCA) credentials.TransportCredentials {
	t.Helper()
	f, err := own.Write(t.TempDir(), "order", "order")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.CA, other.PEM(), 0o644); err != nil {
		t.Fatal(err)
	}
	x, err := auth.OpenTLS(auth.TLSConfig{Cert: f.Cert, Key: f.Key, CA: f.CA})
	if err != nil {
		t.Fatal(err)
	}
	return rpc.ClientTLS(x, "stock")
}

// A CA is replaced in steps, each long enough for all processes to look at their
// files, which they do one after the other. Each call has a connection of its own.
func TestTheCAIsReplacedUnderLoadAndNoCallFails(t *testing.T) {
	dir, first, second := t.TempDir(), newCA(t), newCA(t)
	var ahead [2]atomic.Int64 // the clocks of the processes
	var processes [2]*auth.TLS
	for i, service := range []string{"stock", "order"} {
		f, err := first.Write(dir, service, service)
		if err != nil {
			t.Fatal(err)
		}
		processes[i], err = auth.OpenTLS(auth.TLSConfig{
			Cert: f.Cert, Key: f.Key, CA: f.CA, Report: func(err error) { t.Error(err) },
			Now: func() time.Time { return time.Now().Add(time.Duration(ahead[i].Load())) },
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	_, address := serving(t, rpc.ServerConfig{Authenticator: byName{}, TLS: processes[0]})
	var calls atomic.Int64
	stop := make(chan struct{})
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := call(t, address, "service/order", rpc.ClientTLS(processes[1], "stock")); err != nil {
					t.Error(err)
				}
				calls.Add(1)
			}
		})
	}
	steps := []func() error{
		func() error { return second.Trust(dir) },
		func() error {
			_, err := second.Write(dir, "stock", "stock")
			_, err2 := second.Write(dir, "order", "order")
			return errors.Join(err, err2)
		},
		func() error { return os.WriteFile(filepath.Join(dir, "ca.crt"), second.PEM(), 0o644) },
	}
	for i, step := range steps {
		if err := step(); err != nil {
			t.Error(err)
		}
		for p := range processes {
			ahead[p].Add(int64(3 * time.Second))
			for from := calls.Load(); calls.Load() < from+12; { // more than one of each caller began since
				runtime.Gosched()
			}
		}
		if t.Failed() {
			t.Errorf("in step %d", i+1)
			break
		}
	}
	close(stop)
	callers.Wait()
}

func TestNoHeaderMakesAServiceAnother(t *testing.T) {
	ca := newCA(t)
	s, address := serving(t, rpc.ServerConfig{
		Authenticator: byName{}, TLS: process(t, ca, "stock"), Callers: map[string][]string{testService: {"order"}},
	})
	conn, closer, err := rpc.Dial(address, rpc.DialOptions{
		Credentials: rpc.ClientTLS(process(t, ca, "web"), "stock"),
		Token:       func(context.Context) (string, error) { return "service/web", nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-forwarded-client-cert", "URI=spiffe://shop/order")
	_, err = pb.NewTestServiceClient(conn).EmptyCall(ctx, &pb.Empty{})
	if fault.From(err).Reason != rpc.ReasonCallerUndeclared {
		t.Errorf("got %v", err)
	}
	// A token of a service that comes in by the edge, which has no certificate.
	ctx = metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer service/order")
	_, err = pb.NewTestServiceClient(s.Conn(rpc.ConnOptions{})).EmptyCall(ctx, &pb.Empty{})
	if fault.From(err).Reason != rpc.ReasonCallerUncertified {
		t.Errorf("by the edge: %v", err)
	}
}

func TestAnUndeclaredCallIsRefusedInTheProcessToo(t *testing.T) {
	s, address := serving(t, rpc.ServerConfig{Authenticator: byName{}, Callers: map[string][]string{testService: {"order"}}})
	for service, reason := range map[string]string{"order": "", "stock": "", "web": rpc.ReasonCallerUndeclared} {
		p := auth.Principal{Subject: "service/" + service, Service: service, Roles: []string{auth.RoleService}}
		for _, wire := range []bool{false, true} {
			err := empty(t, s.Conn(rpc.ConnOptions{Principal: &p, Wire: wire}))
			checkReason(t, service+" in the process", err, reason)
		}
		checkReason(t, service+" over the network", call(t, address, p.Subject, nil), reason)
	}
	none, _ := serving(t, rpc.ServerConfig{Authenticator: byName{}, Callers: map[string][]string{}})
	p := auth.Principal{Subject: "service/order", Service: "order"}
	checkReason(t, "a contract that nobody declares", empty(t, none.Conn(rpc.ConnOptions{Principal: &p})), rpc.ReasonCallerUndeclared)
}

func checkReason(t testing.TB, what string, err error, want string) {
	t.Helper()
	switch e := fault.From(err); {
	case want == "" && err != nil:
		t.Errorf("%s: %v", what, err)
	case want != "" && (err == nil || e.Reason != want || e.Code != codes.PermissionDenied || !e.NotDone || !strings.Contains(e.Message, testService)):
		t.Errorf("%s: got %v, want %s", what, err, want)
	}
}

// The check of the caller is on every call between services.
func BenchmarkCallOfAService(b *testing.B) {
	p := auth.Principal{Subject: "service/order", Service: "order", Roles: []string{auth.RoleService}}
	for name, callers := range map[string]map[string][]string{"declared": {testService: {"cart", "web", "order"}}, "no rule": nil} {
		b.Run(name, func(b *testing.B) {
			s, _ := serving(b, rpc.ServerConfig{Callers: callers})
			c := pb.NewTestServiceClient(s.Conn(rpc.ConnOptions{Principal: &p}))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.EmptyCall(b.Context(), &pb.Empty{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
