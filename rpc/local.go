package rpc

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/argosy-go/argosy/auth"
)

// ConnOptions are the ways to reach a server in the same process.
type ConnOptions struct {
	// Principal is who calls: a service of the process, which needs no token.
	// Nil: the call is from outside, and is authenticated by its metadata.
	Principal *auth.Principal
	// Wire makes messages go through bytes, as on a network, and holds them to
	// its limits: what only works in process is found. It is the default in tests.
	Wire bool
}

// Conn returns a connection straight to the handlers, through the same server
// chain as the network's. Messages are always copied, a handler runs on a
// goroutine of its own, and a caller whose deadline passes does not wait for
// it. Context values do not cross; metadata, deadlines and cancellation do.
func (s *Server) Conn(o ConnOptions) grpc.ClientConnInterface { return &local{server: s, o: o} }

// bytes returns how many bytes a message may have: most when messages go
// through bytes, and 0 when they do not.
func (o ConnOptions) bytes(most int) int {
	if o.Wire {
		return most
	}
	return 0
}

// local is an in-process connection.
type local struct {
	server *Server
	o      ConnOptions
}

// there is the address of both ends of an in-process call.
type there struct{}

func (there) Network() string { return "process" }
func (there) String() string  { return "process" }

// Invoke implements grpc.ClientConnInterface.
func (c *local) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	h, err := c.find(ctx, method)
	if err != nil {
		return err
	}
	if h.unary == nil {
		return status.Errorf(codes.Internal, "method %s is a stream and was invoked as a unary call", method)
	}
	t := &transport{method: method}
	call := &localCall{c: c, h: h, t: t, args: args, done: make(chan struct{})}
	c.server.calls.Add(1)
	server, cancel := serverContext(ctx, t)
	go call.serve(server, cancel)
	err = call.wait(ctx, reply, opts)
	finish(opts, err)
	return err
}

// localCall is one unary call under way.
type localCall struct {
	c     *local
	h     *handler
	t     *transport
	args  any
	reply any
	err   error
	done  chan struct{}

	mu   sync.Mutex
	left bool // the caller has gone, and its request is its own again
}

// wait waits for the reply, or for the end of the caller's context: then the
// handler is cancelled and left to end by itself.
func (l *localCall) wait(ctx context.Context, reply any, opts []grpc.CallOption) error {
	select {
	case <-l.done:
	case <-ctx.Done():
		l.mu.Lock() // after a copy that is under way
		l.left = true
		l.mu.Unlock()
		return contextError(ctx)
	}
	l.t.fill(opts)
	if l.err != nil {
		return l.err
	}
	return copyInto(reply, l.reply, l.c.o.bytes(maxMessageBytes))
}

// request copies the request for the handler, unless the caller has gone.
func (l *localCall) request(into any) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.left {
		return status.Error(codes.Canceled, "the caller has gone")
	}
	return copyInto(into, l.args, l.c.o.bytes(l.c.server.c.MaxRecvBytes))
}

// serve runs the server chain. A Goexit in the handler ends the call as a panic would.
func (l *localCall) serve(ctx context.Context, cancel context.CancelFunc) {
	defer l.c.server.calls.Done()
	defer cancel()
	defer close(l.done)
	l.err = status.Error(codes.Internal, "internal error")
	l.reply, l.err = l.c.server.serveUnary(ctx, l.h, l.c.o.Principal, l.request)
}

// find returns the handler of a method, or the error that the network gives.
func (c *local) find(ctx context.Context, method string) (*handler, error) {
	if ctx.Err() != nil {
		return nil, contextError(ctx)
	}
	h, ok := c.server.handlers[method]
	if !ok {
		return nil, status.Errorf(codes.Unimplemented, "unknown method %s", method)
	}
	return h, nil
}

// contextError returns the status that an ended context gives a client.
func contextError(ctx context.Context) error { return status.FromContextError(ctx.Err()).Err() }

// serverContext returns the context of the server's side: the end and the
// deadline of the caller's, its outgoing metadata as incoming, and none of its
// values. It ends with the call.
func serverContext(ctx context.Context, t *transport) (context.Context, context.CancelFunc) {
	md, _ := metadata.FromOutgoingContext(ctx)      // a copy
	server, cancel := context.WithCancel(bare{ctx}) // right on bare, whose AfterFunc spares a goroutine
	server = metadata.NewIncomingContext(server, md)
	server = peer.NewContext(server, &peer.Peer{Addr: there{}, LocalAddr: there{}})
	return &served{Context: grpc.NewContextWithServerTransportStream(server, t), md: md, near: true}, cancel
}

// bare is a context without values.
type bare struct{ parent context.Context }

func (b bare) Deadline() (time.Time, bool) { return b.parent.Deadline() }
func (b bare) Done() <-chan struct{}       { return b.parent.Done() }
func (b bare) Err() error                  { return b.parent.Err() }
func (b bare) Value(any) any               { return nil }

// AfterFunc lets package context watch the parent without a goroutine.
func (b bare) AfterFunc(f func()) func() bool { return context.AfterFunc(b.parent, f) }

// copyInto makes dst equal to src, through at most most bytes unless that is 0.
func copyInto(dst, src any, most int) error {
	to, ok := dst.(proto.Message)
	if !ok {
		return status.Errorf(codes.Internal, "%T is not a protobuf message", dst)
	}
	from, ok := src.(proto.Message)
	if !ok {
		return status.Errorf(codes.Internal, "%T is not a protobuf message", src)
	}
	if most > 0 || to.ProtoReflect().Descriptor() != from.ProtoReflect().Descriptor() {
		b, err := proto.Marshal(from)
		if err != nil {
			return status.Errorf(codes.Internal, "encode %T: %v", src, err)
		}
		if most > 0 && len(b) > most {
			return errTooLong(len(b), most)
		}
		if err := proto.Unmarshal(b, to); err != nil {
			return status.Errorf(codes.Internal, "decode %T: %v", dst, err)
		}
		return nil
	}
	proto.Reset(to)
	proto.Merge(to, from)
	return nil
}

// errTooLong is what a message over the limit gives on the network.
func errTooLong(bytes, most int) error {
	return status.Errorf(codes.ResourceExhausted, "received message larger than max (%d vs. %d)", bytes, most)
}

// transport is the server's side of headers and trailers; it implements
// grpc.ServerTransportStream.
type transport struct {
	method string

	mu      sync.Mutex
	header  metadata.MD
	trailer metadata.MD
	sent    bool
	onSend  func()
}

func (t *transport) Method() string { return t.method }

func (t *transport) SetHeader(md metadata.MD) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sent {
		return fmt.Errorf("headers of %s have been sent", t.method)
	}
	t.header = metadata.Join(t.header, md)
	return nil
}

func (t *transport) SendHeader(md metadata.MD) error {
	if err := t.SetHeader(md); err != nil {
		return err
	}
	t.send()
	return nil
}

func (t *transport) SetTrailer(md metadata.MD) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.trailer = metadata.Join(t.trailer, md)
	return nil
}

// send marks the headers as sent, once.
func (t *transport) send() {
	t.mu.Lock()
	first := !t.sent
	t.sent = true
	t.mu.Unlock()
	if first && t.onSend != nil {
		t.onSend()
	}
}

func (t *transport) both() (header, trailer metadata.MD) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.header.Copy(), t.trailer.Copy()
}

// fill gives the caller what it asked for by call options. Options of the
// network (compression, credentials) have no meaning here.
func (t *transport) fill(opts []grpc.CallOption) {
	if len(opts) == 0 {
		return
	}
	header, trailer := t.both()
	for _, o := range opts {
		switch o := o.(type) {
		case grpc.HeaderCallOption:
			*o.HeaderAddr = header
		case grpc.TrailerCallOption:
			*o.TrailerAddr = trailer
		case grpc.PeerCallOption:
			*o.PeerAddr = peer.Peer{Addr: there{}, LocalAddr: there{}}
		}
	}
}

// finish calls the functions given with grpc.OnFinish.
func finish(opts []grpc.CallOption, err error) {
	for _, o := range opts {
		if f, ok := o.(grpc.OnFinishCallOption); ok {
			f.OnFinish(err)
		}
	}
}
