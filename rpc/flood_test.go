package rpc_test

import (
	"encoding/binary"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	pb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/argosy-go/argosy/rpc"
)

// listening returns a server of the contract that listens on loopback, a client
// of it, and its address.
func listening(t *testing.T, c rpc.ServerConfig, impl pb.TestServiceServer) (*rpc.Server, pb.TestServiceClient, string) {
	t.Helper()
	c.Authenticator = tokens{}
	s := rpc.NewServer(c)
	if err := s.Register("tester", &pb.TestService_ServiceDesc, impl); err != nil {
		t.Fatal(err)
	}
	conn, addr := served(t, s)
	return s, pb.NewTestServiceClient(conn), addr
}

// frame returns an HTTP/2 frame.
func frame(kind, flags byte, stream uint32, payload ...byte) []byte {
	b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	return append(binary.BigEndian.AppendUint32(b, stream), payload...)
}

// literal returns a header field that needs no table.
func literal(name, value string) []byte {
	b := append([]byte{0, byte(len(name))}, name...)
	return append(append(b, byte(len(value))), value...)
}

// opening returns what opens a call, with more headers.
func opening(stream uint32, more ...byte) []byte {
	const endHeaders = 4
	return frame(1, endHeaders, stream, slices.Concat(literal(":method", "POST"), literal(":scheme", "http"),
		literal(":path", "/grpc.testing.TestService/FullDuplexCall"), literal(":authority", "x"),
		literal("content-type", "application/grpc"), literal("te", "trailers"), literal("authorization", "Bearer good"), more)...)
}

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// assault opens a connection and writes what write returns, over and over,
// until the server closes it, and reports whether it did.
func assault(t *testing.T, addr string, most int, write func(i uint32) []byte) bool {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return false
	}
	defer conn.Close()
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	if _, err := conn.Write(append([]byte(preface), frame(4, 0, 0)...)); err != nil {
		return true
	}
	for i := range uint32(most) {
		if _, err := conn.Write(write(i)); err != nil {
			return true
		}
	}
	return false
}

func TestFloodsCloseTheirConnectionAndHarmNobodyElse(t *testing.T) {
	s, good, addr := listening(t, rpc.ServerConfig{}, &tester{})
	calls := func(n int) (p99 time.Duration) {
		took := make([]time.Duration, n)
		for i := range took {
			begun := time.Now()
			if _, err := good.EmptyCall(outgoing(t.Context()), &pb.Empty{}); err != nil {
				t.Fatalf("a good client's call: %v", err)
			}
			took[i] = time.Since(begun)
		}
		slices.Sort(took)
		return took[n*99/100]
	}
	before := calls(300)
	for name, write := range map[string]func(uint32) []byte{
		"rapid reset": func(i uint32) []byte { return append(opening(2*i+1), frame(3, 0, 2*i+1, 0, 0, 0, 8)...) },
		"pings":       func(uint32) []byte { return frame(6, 0, 0, make([]byte, 8)...) },
	} {
		t.Run(name, func(t *testing.T) {
			var attackers sync.WaitGroup
			for range 2 {
				attackers.Go(func() {
					for range 2 {
						if !assault(t, addr, 1<<26, write) {
							t.Error("the connection was not closed")
						}
					}
				})
			}
			during := calls(300)
			attackers.Wait()
			t.Logf("p99 of a good client: %v before, %v during the attack", before, during)
		})
	}
	if n := s.Snapshot().Floods; n != 4 {
		t.Errorf("%d floods were counted, want 4", n)
	}
}

func TestAClientThatCancelsMuchIsNoFlood(t *testing.T) {
	s, _, addr := listening(t, rpc.ServerConfig{}, &tester{})
	closed := assault(t, addr, 5_000, func(i uint32) []byte {
		var b []byte
		for _, served := range []uint32{6*i + 1, 6*i + 3} {
			b = append(append(b, opening(served)...), frame(0, 1, served, 0, 0, 0, 0, 0)...) // an empty message, and the end
		}
		return append(append(b, opening(6*i+5)...), frame(3, 0, 6*i+5, 0, 0, 0, 8)...)
	})
	if n := s.Snapshot().Floods; n != 0 || closed {
		t.Errorf("%d floods, closed %t", n, closed)
	}
}

func TestACallThatArrivesTooLateNeverReachesTheHandler(t *testing.T) {
	impl := &scripted{stream: func(grpc.BidiStreamingServer[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]) error {
		t.Error("the handler was called")
		return nil
	}}
	_, _, addr := listening(t, rpc.ServerConfig{}, impl)
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(slices.Concat([]byte(preface), frame(4, 0, 0), opening(1, literal("grpc-timeout", "1n")...))); err != nil {
		t.Fatal(err)
	}
	for head := make([]byte, 9); ; {
		if _, err := io.ReadFull(conn, head); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, conn, int64(head[0])<<16|int64(head[1])<<8|int64(head[2])); err != nil {
			t.Fatal(err)
		}
		const headers, rstStream, endStream = 1, 3, 1
		if of := binary.BigEndian.Uint32(head[5:]); of == 1 && (head[3] == rstStream || head[3] == headers && head[4]&endStream != 0) {
			return // it has ended
		}
	}
}
