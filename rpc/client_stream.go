package rpc

import (
	"context"
	"io"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/guard"
)

// NewStream implements grpc.ClientConnInterface. A stream that was opened is
// not retried: its messages cannot be taken back. It counts as under way until
// it ends. Its first message, or else its end, is what the breaker counts; when
// it breaks soon after, that is a failure after all: see [guard.Pass].
func (c *Client) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	m, err := c.begin(ctx, method)
	if err != nil {
		return nil, err
	}
	ctx = c.outgoing(ctx, m.Method)
	var stream grpc.ClientStream
	err = m.Open(ctx, func(ctx context.Context, p *guard.Pass) error {
		cancel := func() {}
		if m.Deadline > 0 { // each attempt ends its own context
			ctx, cancel = context.WithTimeout(ctx, m.Deadline)
		}
		// A copy: attempts must not share what they append.
		s, err := c.c.Transport.NewStream(ctx, desc, method, append(opts[:len(opts):len(opts)], grpc.OnFinish(func(err error) {
			if drained(err) {
				err = errDrained
			}
			p.End(ctx, err)
			cancel()
		}))...)
		if err != nil {
			cancel()
			return err
		}
		stream = &guardedStream{s, p, c.away, ctx, degradedOf(ctx), !desc.ServerStreams}
		return nil
	})
	if err != nil {
		return nil, c.away.instead(err)
	}
	return stream, nil
}

// guardedStream tells the guard of the first message, and the watcher of the end.
type guardedStream struct {
	grpc.ClientStream
	pass   *guard.Pass
	away   *unreachable
	ctx    context.Context
	watch  *watcher // nil: nobody watches, or it has been told
	single bool     // its only message is also its end
}

func (s *guardedStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err == nil {
		s.pass.Answered()
	}
	if s.watch != nil && (err != nil || s.single) {
		s.watch.trailer = s.Trailer()
		s.watch.look(s.ctx)
		s.watch = nil
	}
	if err != nil && err != io.EOF {
		return s.away.instead(err)
	}
	return err
}

// goneAway is what grpc-go says, beside other things, of a call whose connection
// the server ended in peace, with GOAWAY and a while for what was under way.
const goneAway = "received prior goaway: code: NO_ERROR"

// drained reports whether the server ended a call in order to go away, or to
// have the connection made anew.
func drained(err error) bool {
	if status.Code(err) != codes.Unavailable {
		return false
	}
	e := fault.From(err)
	return e.Reason == fault.ReasonDraining || strings.Contains(e.Message, goneAway)
}
