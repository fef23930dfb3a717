package rpc

import (
	"context"
	"io"
	"math"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// window is how many messages a side of an in-process stream may be ahead.
const window = 16

// NewStream implements grpc.ClientConnInterface.
func (c *local) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	h, err := c.find(ctx, method)
	if err != nil {
		return nil, err
	}
	p := &pipe{
		desc: desc, o: c.o, most: c.server.c.MaxRecvBytes, ctx: ctx, t: &transport{method: method}, opts: opts,
		up: make(chan proto.Message, window), down: make(chan proto.Message, window),
		headed: make(chan struct{}), done: make(chan struct{}),
	}
	p.t.onSend = func() { close(p.headed) }
	server := &serverPipe{p: p}
	var cancel context.CancelFunc
	server.ctx, cancel = serverContext(ctx, p.t)
	c.server.calls.Add(1)
	go func() {
		defer c.server.calls.Done()
		defer cancel()
		err := status.Error(codes.Internal, "internal error") // what a Goexit leaves
		defer func() { p.end(err) }()
		if h.stream == nil {
			err = c.streamOfUnary(h, server)
			return
		}
		err = c.server.serveStream(server.ctx, h, c.o.Principal, server)
	}()
	return p, nil
}

// streamOfUnary serves a unary method that was called as a stream.
func (c *local) streamOfUnary(h *handler, s *serverPipe) error {
	reply, err := c.server.serveUnary(s.ctx, h, c.o.Principal, s.RecvMsg)
	if err != nil {
		return err
	}
	return s.SendMsg(reply)
}

// pipe is an in-process stream; itself it is the client's side.
type pipe struct {
	desc *grpc.StreamDesc
	o    ConnOptions
	most int // bytes of a message to the server, where messages go through bytes
	ctx  context.Context
	t    *transport
	opts []grpc.CallOption

	up     chan proto.Message // client to server; closed by CloseSend
	down   chan proto.Message // server to client; never closed: a goroutine of the handler may still send
	headed chan struct{}      // closed once the headers are known
	done   chan struct{}      // closed once the handler has returned
	err    error              // how it ended; read after done

	closed bool      // the client's side is; its methods for sending are not concurrent
	over   sync.Once // grpc.OnFinish has been told
}

// end is called once, when the handler has returned. What the client asked for
// by call options is given to it on its own goroutine: see received.
func (p *pipe) end(err error) {
	p.t.send()
	p.err = err
	close(p.done)
	p.finish(err)
}

// finish tells grpc.OnFinish how the stream ended, once.
func (p *pipe) finish(err error) { p.over.Do(func() { finish(p.opts, err) }) }

// Header waits for the headers, as a network client does.
func (p *pipe) Header() (metadata.MD, error) {
	select {
	case <-p.headed:
	default:
		select {
		case <-p.headed:
		case <-p.ctx.Done():
			return nil, contextError(p.ctx)
		}
	}
	header, _ := p.t.both()
	return header, nil
}

func (p *pipe) Trailer() metadata.MD {
	select {
	case <-p.done:
		_, trailer := p.t.both()
		return trailer
	default:
		return nil
	}
}

func (p *pipe) Context() context.Context { return p.ctx }

func (p *pipe) CloseSend() error {
	if !p.closed {
		p.closed = true
		close(p.up)
	}
	return nil
}

// SendMsg returns io.EOF when the stream has ended; RecvMsg tells how. The only
// message of a client is sent without an error even then: stubs would take
// io.EOF for the outcome of the call.
func (p *pipe) SendMsg(m any) error {
	if p.closed {
		return status.Error(codes.Internal, "SendMsg was called after CloseSend")
	}
	msg, err := clone(m, p.o.Wire)
	if err != nil {
		return err
	}
	sent := p.offer(msg)
	if !p.desc.ClientStreams {
		return p.CloseSend()
	}
	if !sent {
		return io.EOF
	}
	return nil
}

// offer hands a message to the server unless the stream has ended.
func (p *pipe) offer(msg proto.Message) bool {
	select {
	case <-p.done:
		return false
	default:
	}
	select {
	case p.up <- msg:
		return true
	case <-p.done:
	case <-p.ctx.Done():
	}
	return false
}

func (p *pipe) RecvMsg(m any) error {
	msg, err := p.next()
	if err != nil {
		return err
	}
	if err := copyInto(m, msg, p.o.bytes(maxMessageBytes)); err != nil {
		return err
	}
	if p.desc.ServerStreams {
		return nil
	}
	if _, err := p.next(); err != io.EOF { // the only message comes with its status
		if err == nil {
			return status.Error(codes.Internal, "the server sent more than one message")
		}
		return err
	}
	return nil
}

// next returns the next message, io.EOF after the last one, or the status.
func (p *pipe) next() (proto.Message, error) {
	select {
	case msg := <-p.down:
		return msg, nil
	case <-p.done:
		return p.ended()
	default:
	}
	select {
	case msg := <-p.down:
		return msg, nil
	case <-p.done:
		return p.ended()
	case <-p.ctx.Done():
		err := contextError(p.ctx)
		p.finish(err)
		return nil, err
	}
}

// ended returns what the handler had sent before it returned, and then how it
// ended.
func (p *pipe) ended() (proto.Message, error) {
	select {
	case msg := <-p.down:
		return msg, nil
	default:
	}
	p.finish(p.err) // before its reader knows
	p.t.fill(p.opts)
	if p.err != nil {
		return nil, p.err
	}
	return nil, io.EOF
}

var errReturned = status.Error(codes.Internal, "SendMsg was called after the handler had returned")

// serverPipe is the server's side of a pipe.
type serverPipe struct {
	p   *pipe
	ctx context.Context
}

func (s *serverPipe) SetHeader(md metadata.MD) error  { return s.p.t.SetHeader(md) }
func (s *serverPipe) SendHeader(md metadata.MD) error { return s.p.t.SendHeader(md) }
func (s *serverPipe) SetTrailer(md metadata.MD)       { _ = s.p.t.SetTrailer(md) } // it cannot fail
func (s *serverPipe) Context() context.Context        { return s.ctx }

func (s *serverPipe) SendMsg(m any) error {
	msg, err := clone(m, s.p.o.Wire)
	if err != nil {
		return err
	}
	s.p.t.send()
	select {
	case s.p.down <- msg:
		return nil
	case <-s.p.done:
		return errReturned
	case <-s.ctx.Done():
		return contextError(s.ctx)
	}
}

func (s *serverPipe) RecvMsg(m any) error {
	select {
	case msg, ok := <-s.p.up:
		return s.received(m, msg, ok)
	default:
	}
	select {
	case msg, ok := <-s.p.up:
		return s.received(m, msg, ok)
	case <-s.ctx.Done():
		return contextError(s.ctx)
	}
}

func (s *serverPipe) received(m any, msg proto.Message, ok bool) error {
	if !ok {
		return io.EOF
	}
	if s.p.o.Wire {
		if n := proto.Size(msg); n > s.p.most {
			return errTooLong(n, s.p.most)
		}
	}
	return copyInto(m, msg, 0) // it was copied, through bytes if need be, when it was sent
}

// clone returns a copy of a message that nobody else has.
func clone(m any, wire bool) (proto.Message, error) {
	msg, ok := m.(proto.Message)
	if !ok {
		return nil, status.Errorf(codes.Internal, "%T is not a protobuf message", m)
	}
	if !wire {
		return proto.Clone(msg), nil
	}
	into := msg.ProtoReflect().New().Interface()
	return into, copyInto(into, msg, math.MaxInt)
}
