package rpc_test

import (
	"context"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"

	"github.com/argosy-go/argosy/auth"
	greeterpb "github.com/argosy-go/argosy/docs/guide/greeter/greeterpb"
	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/rpc"
	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/store/sqlite"
)

// scripted is a server whose methods do what a test says.
type scripted struct {
	pb.UnimplementedTestServiceServer
	unary  func(ctx context.Context) error
	stream func(grpc.BidiStreamingServer[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]) error
}

func (s *scripted) EmptyCall(ctx context.Context, in *pb.Empty) (*pb.Empty, error) {
	return in, s.unary(ctx)
}

func (s *scripted) FullDuplexCall(both grpc.BidiStreamingServer[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]) error {
	return s.stream(both)
}

func (s *scripted) server(t *testing.T, c rpc.ServerConfig) *rpc.Server {
	t.Helper()
	c.Authenticator = tokens{}
	srv := rpc.NewServer(c)
	if err := srv.Register("scripted", &pb.TestService_ServiceDesc, s); err != nil {
		t.Fatal(err)
	}
	return srv
}

// within is the process's own way to a server.
func within(s *rpc.Server) pb.TestServiceClient {
	return pb.NewTestServiceClient(s.Conn(rpc.ConnOptions{Principal: &auth.Principal{Subject: "service/a", Service: "a"}}))
}

func TestARefusalThatAHandlerPassesOnIsNotTakenAsNotDone(t *testing.T) {
	inner := fault.New(codes.Unavailable, "OVERLOADED", "busy").Refused()
	inner.Service = "somebody-else"
	s := (&scripted{unary: func(context.Context) error { return inner }}).server(t, rpc.ServerConfig{})
	_, err := within(s).EmptyCall(t.Context(), &pb.Empty{})
	if e := fault.From(err); e == nil || e.NotDone || e.Service != "somebody-else" || e.Reason != "OVERLOADED" {
		t.Errorf("got %+v", e)
	}
}

func TestAnExpiredDeadlineNeverReachesTheHandler(t *testing.T) {
	s := (&scripted{unary: func(context.Context) error { t.Error("the handler was called"); return nil }}).server(t, rpc.ServerConfig{})
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	_, err := within(s).EmptyCall(ctx, &pb.Empty{})
	if fault.CodeOf(err) != codes.DeadlineExceeded {
		t.Errorf("got %v", err)
	}
}

// overdue is a context whose deadline has passed and whose timer has not fired.
type overdue struct{ context.Context }

func (overdue) Deadline() (time.Time, bool) { return time.Now().Add(-time.Millisecond), true }

func TestADeadlineCountsBeforeItsTimerFires(t *testing.T) {
	s := (&scripted{unary: func(context.Context) error { t.Error("the handler was called"); return nil }}).server(t, rpc.ServerConfig{})
	_, err := within(s).EmptyCall(overdue{t.Context()}, &pb.Empty{})
	if e := fault.From(err); e == nil || e.Reason != "DEADLINE_EXPIRED" || !e.NotDone || e.HTTPStatus() != 504 {
		t.Errorf("got %v", err)
	}
}

func TestAHandlerThatEndsItsGoroutineEndsTheCall(t *testing.T) {
	s := (&scripted{unary: func(context.Context) error { runtime.Goexit(); return nil }}).server(t, rpc.ServerConfig{})
	_, err := within(s).EmptyCall(t.Context(), &pb.Empty{})
	if fault.CodeOf(err) != codes.Internal {
		t.Errorf("got %v", err)
	}
}

func TestTheContextOfAHandlerEndsWithItsCall(t *testing.T) {
	var seen context.Context
	s := (&scripted{unary: func(ctx context.Context) error { seen = ctx; return nil }}).server(t, rpc.ServerConfig{})
	if _, err := within(s).EmptyCall(t.Context(), &pb.Empty{}); err != nil {
		t.Fatal(err)
	}
	<-seen.Done()
}

func TestCallsFromOutsideAreShedOverTheLimitAndTheProcesssOwnAreNot(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s := (&scripted{unary: func(context.Context) error { entered <- struct{}{}; <-leave; return nil }}).server(t, rpc.ServerConfig{MaxInFlight: 1})
	outside := pb.NewTestServiceClient(s.Conn(rpc.ConnOptions{}))
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer good")
	done := make(chan error, 2)
	go func() { _, err := outside.EmptyCall(ctx, &pb.Empty{}); done <- err }()
	<-entered
	_, err := outside.EmptyCall(ctx, &pb.Empty{})
	if e := fault.From(err); e == nil || e.Code != codes.Unavailable || !e.NotDone || e.RetryAfter == 0 {
		t.Errorf("over the limit: %v", err)
	}
	go func() { _, err := within(s).EmptyCall(t.Context(), &pb.Empty{}); done <- err }()
	<-entered
	close(leave)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestWhoSendsAfterTheHandlerHasReturnedLearnsIt(t *testing.T) {
	sent := make(chan error, 1)
	s := (&scripted{stream: func(both grpc.BidiStreamingServer[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]) error {
		go func() {
			for {
				if err := both.Send(&pb.StreamingOutputCallResponse{}); err != nil {
					sent <- err
					return
				}
			}
		}()
		return nil
	}}).server(t, rpc.ServerConfig{})
	for range 50 {
		both, err := within(s).FullDuplexCall(t.Context())
		for err == nil {
			_, err = both.Recv()
		}
		if err != io.EOF {
			t.Fatal(err)
		}
		<-sent
	}
}

func TestADrainEndsStreamsAndServesTheProcesssOwnCalls(t *testing.T) {
	s := (&scripted{
		unary: func(context.Context) error { return nil },
		stream: func(both grpc.BidiStreamingServer[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]) error {
			<-both.Context().Done()
			return both.Context().Err()
		},
	}).server(t, rpc.ServerConfig{})
	stream, err := within(s).FullDuplexCall(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := stream.Recv(); fault.CodeOf(err) != codes.Unavailable {
		t.Errorf("the stream ended with %v", err)
	}
	if _, err := within(s).EmptyCall(t.Context(), &pb.Empty{}); err != nil {
		t.Errorf("a call of the process's own: %v", err)
	}
	if err := s.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestTheHeadersOfAStreamThatHasEndedAreThere(t *testing.T) {
	s := (&scripted{stream: func(both grpc.BidiStreamingServer[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]) error {
		return both.SetHeader(metadata.Pairs("seen", "yes"))
	}}).server(t, rpc.ServerConfig{})
	for range 200 {
		var trailer metadata.MD
		stream, err := within(s).FullDuplexCall(t.Context(), grpc.Trailer(&trailer))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != io.EOF {
			t.Fatalf("got %v", err)
		}
		if h, err := stream.Header(); err != nil || len(h.Get("seen")) != 1 {
			t.Fatalf("%v %v", h, err)
		}
	}
}

// Stubs send the only message of the client before they read the answer: what
// that says of a call that was refused at once would be taken for its outcome.
func TestTheOnlyMessageToAStreamThatHasEndedIsSentInVain(t *testing.T) {
	s := rpc.NewServer(rpc.ServerConfig{Authenticator: tokens{}})
	if err := s.Register("teller", &pb.TestService_ServiceDesc, telling{}); err != nil {
		t.Fatal(err)
	}
	network, _ := served(t, s)
	for name, conn := range map[string]grpc.ClientConnInterface{
		"network": network, "process": s.Conn(rpc.ConnOptions{}), "wire": s.Conn(rpc.ConnOptions{Wire: true}),
	} {
		stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, pb.TestService_StreamingOutputCall_FullMethodName)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Header(); err != nil && fault.CodeOf(err) != codes.Unauthenticated { // it has ended
			t.Errorf("%s: header: %v", name, err)
		}
		if err := stream.SendMsg(&pb.StreamingOutputCallRequest{}); err != nil {
			t.Errorf("%s: sent: %v", name, err)
		}
		if err := stream.RecvMsg(&pb.StreamingOutputCallResponse{}); fault.CodeOf(err) != codes.Unauthenticated {
			t.Errorf("%s: received: %v", name, err)
		}
	}
}

// keyed is a server of a contract with keyed calls.
type keyed struct {
	greeterpb.UnimplementedGreeterServer
	keys []string
	fail int // how many calls fail first
}

func (k *keyed) Greet(ctx context.Context, _ *greeterpb.GreetRequest) (*greeterpb.Greeting, error) {
	k.keys = append(k.keys, rpc.IdempotencyKey(ctx))
	if len(k.keys) <= k.fail {
		return nil, fault.New(codes.Unavailable, "AWAY", "away")
	}
	return &greeterpb.Greeting{}, nil
}

func greeting(t *testing.T, k *keyed) (*rpc.Server, greeterpb.GreeterClient) {
	t.Helper()
	s := rpc.NewServer(rpc.ServerConfig{})
	if err := s.Register("greeter", &greeterpb.Greeter_ServiceDesc, k); err != nil {
		t.Fatal(err)
	}
	contract, err := rpc.Contract(greeterpb.NewGreeterClient)
	if err != nil {
		t.Fatal(err)
	}
	return s, greeterpb.NewGreeterClient(rpc.NewClient(rpc.ClientConfig{From: "a", Contract: contract, Transport: s.Conn(rpc.ConnOptions{})}))
}

func TestAKeyedCallIsSentAgainUnderItsOneKey(t *testing.T) {
	k := &keyed{fail: 2}
	_, c := greeting(t, k)
	if _, err := c.Greet(t.Context(), &greeterpb.GreetRequest{}); err != nil {
		t.Fatal(err)
	}
	if len(k.keys) != 3 || k.keys[0] == "" || k.keys[0] != k.keys[1] || k.keys[1] != k.keys[2] {
		t.Errorf("the keys were %q", k.keys)
	}
	if _, err := c.Greet(rpc.WithIdempotencyKey(t.Context(), "mine"), &greeterpb.GreetRequest{}); err != nil || k.keys[3] != "mine" {
		t.Errorf("%v: the keys were %q", err, k.keys)
	}
	if _, err := c.Greet(t.Context(), &greeterpb.GreetRequest{}); err != nil || k.keys[4] == k.keys[0] {
		t.Errorf("%v: two calls have one key", err)
	}
}

func TestAKeyIsPrintableAndNotTooLong(t *testing.T) {
	k := &keyed{}
	s, _ := greeting(t, k)
	c := greeterpb.NewGreeterClient(s.Conn(rpc.ConnOptions{}))
	for key, good := range map[string]bool{"k": true, strings.Repeat("k", 255): true, strings.Repeat("k", 256): false, "": false, "a\nb": false, "ü": false} {
		_, err := c.Greet(metadata.AppendToOutgoingContext(t.Context(), rpc.KeyHeader, key), &greeterpb.GreetRequest{})
		if (err == nil) != good {
			t.Errorf("key %q: %v", key, err)
		}
	}
}

func TestACallInsideATransactionIsRefused(t *testing.T) {
	k := &keyed{}
	_, c := greeting(t, k)
	db := store.NewDB("a")
	if err := db.Open(t.Context(), sqlite.Opener{}, store.OpenOptions{Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err := db.Do(t.Context(), func(ctx context.Context, _ *store.Tx) error {
		_, err := c.Greet(ctx, &greeterpb.GreetRequest{})
		return err
	})
	if e := fault.From(err); e == nil || e.Reason != "CALL_IN_TRANSACTION" || !e.NotDone || len(k.keys) != 0 {
		t.Errorf("%v, %d calls", err, len(k.keys))
	}
}

func TestALateConnectionFailsUntilItIsBound(t *testing.T) {
	s, _ := greeting(t, &keyed{})
	contract, err := rpc.Contract(greeterpb.NewGreeterClient)
	if err != nil {
		t.Fatal(err)
	}
	setup := service.New("a", service.Options{})
	late := rpc.Declare(setup, contract)
	if rpc.Declare(setup, contract) != late || len(rpc.Declared(setup)) != 1 {
		t.Error("one contract has two connections")
	}
	c := greeterpb.NewGreeterClient(late)
	if _, err := c.Greet(t.Context(), &greeterpb.GreetRequest{}); !fault.From(err).NotDone {
		t.Errorf("before it is bound: %v", err)
	}
	late.Bind(s.Conn(rpc.ConnOptions{}))
	if _, err := c.Greet(t.Context(), &greeterpb.GreetRequest{}); err != nil {
		t.Error(err)
	}
}

func TestAServiceSendsItsTokenOverTheNetwork(t *testing.T) {
	s := (&scripted{unary: func(ctx context.Context) error {
		if p, _ := auth.From(ctx); p.Subject != "ann" {
			t.Errorf("the caller is %+v", p)
		}
		return nil
	}}).server(t, rpc.ServerConfig{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	conn, closer, err := rpc.Dial(l.Addr().String(), rpc.DialOptions{Token: func(context.Context) (string, error) { return "good", nil }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pb.NewTestServiceClient(conn).EmptyCall(t.Context(), &pb.Empty{}); err != nil {
		t.Error(err)
	}
	_ = closer.Close()
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
