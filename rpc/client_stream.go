package rpc

import (
	"context"

	"google.golang.org/grpc"

	"github.com/argosy-go/argosy/guard"
)

// NewStream implements grpc.ClientConnInterface. A stream that was opened is
// not retried: its messages cannot be taken back. It counts as under way until
// it ends, and its first message, or else its end, is what the breaker counts.
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
			p.End(ctx, err)
			cancel()
		}))...)
		if err != nil {
			cancel()
			return err
		}
		stream = &guardedStream{s, p}
		return nil
	})
	return stream, err
}

// guardedStream tells the guard of the first message.
type guardedStream struct {
	grpc.ClientStream
	pass *guard.Pass
}

func (s *guardedStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err == nil {
		s.pass.Answered()
	}
	return err
}
