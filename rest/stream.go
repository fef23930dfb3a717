package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/argosy-go/argosy/fault"
)

// patience is how long a stream may have nothing to say before the status line
// is sent: an error within it still has a status of its own.
const patience = time.Second

// received is what one Recv of a stream gave.
type received struct {
	msg protoreflect.Message
	err error
}

// serveStream carries out a call that is answered by a stream. The goroutine
// that receives ends before it returns.
func (h *Handler) serveStream(ctx context.Context, w http.ResponseWriter, r *http.Request, rt *route, in protoreflect.Message) error {
	sse, err := wantsEvents(r.Header.Values("Accept"))
	if err != nil {
		return err
	}
	s := &sender{h: h, w: w, rt: rt, sse: sse, control: http.NewResponseController(w)}
	if r.Method == http.MethodHead {
		return s.begin(nil) // what the stream would be, without one
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := h.c.Conn.NewStream(ctx, &grpc.StreamDesc{StreamName: string(rt.method.Name()), ServerStreams: true}, rt.call)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(in.Interface()); err != nil && !errors.Is(err, io.EOF) { // EOF: Recv tells why
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	messages, done := make(chan received), make(chan struct{})
	go func() {
		defer close(done)
		receive(ctx, stream, rt.out, messages)
	}()
	defer func() {
		cancel()
		<-done
	}()
	return s.relay(ctx, stream, messages)
}

// receive hands over what the stream gives, up to its end.
func receive(ctx context.Context, stream grpc.ClientStream, out protoreflect.MessageType, to chan<- received) {
	for {
		msg := out.New()
		err := stream.RecvMsg(msg.Interface())
		select {
		case to <- received{msg, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// sender writes a stream of messages to a client.
type sender struct {
	h       *Handler
	w       http.ResponseWriter
	rt      *route
	sse     bool
	control *http.ResponseController
	begun   bool
	buf     []byte
}

// relay writes what is received until the stream, the client or ctx ends. It
// returns an error only while nothing has been written.
func (s *sender) relay(ctx context.Context, stream grpc.ClientStream, messages <-chan received) error {
	alive := time.NewTimer(min(patience, s.h.c.Heartbeat))
	defer alive.Stop()
	for {
		select {
		case <-ctx.Done():
			return s.fail(ctx.Err())
		case <-alive.C:
			if s.begin(nil) != nil || s.heartbeat() != nil {
				return nil
			}
		case m := <-messages:
			if m.err != nil {
				s.mark(stream.Trailer())
			}
			if m.err != nil && !errors.Is(m.err, io.EOF) {
				return s.fail(m.err)
			}
			if !s.begun {
				md, _ := stream.Header() // an error shows in Recv
				if s.begin(md) != nil {
					return nil
				}
			}
			if m.err != nil {
				s.end()
				return nil
			}
			frame, err := s.frame(m.msg)
			if err != nil {
				s.h.c.Log.Error("a message of a stream cannot be encoded", "method", s.rt.call, "error", err)
				return s.fail(err)
			}
			if s.write(frame) != nil {
				return nil
			}
		}
		alive.Reset(s.h.c.Heartbeat)
	}
}

// begin sends the status line. Deadlines of the whole request do not hold for a
// stream: each write has one of its own.
func (s *sender) begin(md metadata.MD) error {
	if s.begun {
		return nil
	}
	s.begun = true
	head := s.w.Header()
	head.Set("Cache-Control", "no-store")
	copyBack(head, md)
	head.Set("Content-Type", ndjsonType)
	if s.sse {
		head.Set("Content-Type", sseType)
	}
	head.Set("X-Accel-Buffering", "no") // asks proxies to pass each message on at once
	_ = s.control.SetReadDeadline(time.Time{})
	s.w.WriteHeader(http.StatusOK)
	return s.flush()
}

// mark says that what was sent is degraded: in the header while there is time,
// and else in the trailer.
func (s *sender) mark(trailer metadata.MD) {
	name := degradedHeader
	if s.begun {
		name = http.TrailerPrefix + name
	}
	copyMark(s.w.Header(), name, trailer)
}

// frame returns a message as it is sent, valid until the next call.
func (s *sender) frame(msg protoreflect.Message) ([]byte, error) {
	before, after := "", "\n"
	if s.sse {
		before, after = "data: ", "\n\n"
	}
	b, err := s.rt.encode(append(s.buf[:0], before...), msg)
	if err != nil {
		return nil, err
	}
	s.buf = append(b, after...)
	return s.buf, nil
}

// heartbeat shows that the stream lives. NDJSON has no comments, but its
// readers skip empty lines.
func (s *sender) heartbeat() error {
	if s.sse {
		return s.write([]byte(":\n\n"))
	}
	return s.write([]byte("\n"))
}

// end says that the stream is complete. A browser's EventSource would connect
// again after a plain end.
func (s *sender) end() {
	if s.sse {
		_ = s.write([]byte("event: end\ndata: {}\n\n")) // the last thing said: a client that is gone misses nothing
	}
}

// fail ends the stream with an error: as the response while there is none, else
// as its last message.
func (s *sender) fail(err error) error {
	if !s.begun {
		return err
	}
	b, merr := json.Marshal(fault.From(err).Problem())
	if merr != nil {
		b = []byte(`{"status":500,"code":"INTERNAL"}`)
	}
	if s.sse {
		b = fmt.Appendf(nil, "event: error\ndata: %s\n\n", b)
	} else {
		b = fmt.Appendf(nil, "{\"@error\":%s}\n", b)
	}
	_ = s.write(b) // the last thing said, as above
	return nil
}

func (s *sender) write(b []byte) error {
	_ = s.control.SetWriteDeadline(time.Now().Add(s.h.c.StallTimeout)) // a writer without deadlines has none to extend
	if _, err := s.w.Write(b); err != nil {
		return err
	}
	return s.flush()
}

func (s *sender) flush() error {
	if err := s.control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// serveUpload carries out a call that is fed by a stream of messages, one a line.
func (h *Handler) serveUpload(ctx context.Context, w http.ResponseWriter, r *http.Request, rt *route) error {
	if r.URL.RawQuery != "" && !h.c.AllowUnknown {
		return fault.Invalid("query", "this method takes no query parameters")
	}
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(h.c.StallTimeout)) // a reader without deadlines has none to extend
	body, some, err := hasBody(r)
	if err != nil {
		return err
	}
	if some {
		if err := checkType(w, r, ndjsonType); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := h.c.Conn.NewStream(ctx, &grpc.StreamDesc{StreamName: string(rt.method.Name()), ClientStreams: true}, rt.call)
	if err != nil {
		return err
	}
	if some {
		if err := h.sendLines(stream, control, body, rt); err != nil {
			return err
		}
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	out := rt.out.New()
	if err := stream.RecvMsg(out.Interface()); err != nil {
		if errors.Is(err, io.EOF) {
			return fault.New(codes.Internal, "INTERNAL", "internal error").Wrap(errors.New("the stream ended without a reply"))
		}
		return err
	}
	md, _ := stream.Header() // an error has shown in RecvMsg
	copyBack(w.Header(), md)
	copyMark(w.Header(), degradedHeader, stream.Trailer())
	return h.write(w, r, rt, out)
}

// sendLines sends each line of the body as a message. It stops, without an
// error, when the other side has answered already.
func (h *Handler) sendLines(stream grpc.ClientStream, control *http.ResponseController, body io.Reader, rt *route) error {
	lines := newLines(body, h.c.MaxBody)
	for {
		_ = control.SetReadDeadline(time.Now().Add(h.c.StallTimeout)) // as above
		line, err := lines.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		msg := rt.in.New()
		if err := decodeJSON(line, msg.Interface(), "", h.c.AllowUnknown); err != nil {
			return lines.at(err)
		}
		switch err := stream.SendMsg(msg.Interface()); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}
