package rest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/argosy-go/argosy/fault"
)

// Config says what a [Handler] serves.
type Config struct {
	// Services are the contracts. Methods without google.api.http are not
	// served. The generated Go types of their messages must be linked.
	Services []protoreflect.ServiceDescriptor
	// Conn carries the calls: in the process, or to a server. Required.
	Conn grpc.ClientConnInterface
	// MaxBody is the largest request body in bytes, and the largest message of
	// a request stream. Zero: 1 MiB.
	MaxBody int64
	// AllowUnknown ignores query parameters, JSON fields and enum names that
	// the contract does not know, instead of refusing the request.
	AllowUnknown bool
	// Heartbeat is the time between signs of life on a stream of server-sent
	// events that has nothing to say. Zero: 15 s.
	Heartbeat time.Duration
	// StallTimeout bounds one write to the client, of a stream or a reply, and the wait
	// for the next message from one that sends: a client that is stuck is
	// left. Zero: 30 s.
	StallTimeout time.Duration
	// Fallback answers the paths that no contract has. Nil: 404 as a problem
	// document.
	Fallback http.Handler
	// Log is told of responses that cannot be encoded. Nil: nobody.
	Log *slog.Logger
}

// Handler serves contracts as REST. It is safe for concurrent use.
type Handler struct {
	c      Config
	router router
	routes []Route
}

// Route is one binding of a method, for tools.
type Route struct {
	// Verb is the HTTP method.
	Verb string
	// Path is the template, as in "/v1/orders/{id}".
	Path string
	// Procedure is the full name of the method, as in "/shop.v1.Orders/GetOrder".
	Procedure string
}

// New returns the Handler of the contracts. It fails for templates that cannot
// be read, for names of fields that do not exist, for streams in both
// directions, and for two methods that serve the same requests; the error names
// every such method.
func New(c Config) (*Handler, error) {
	if c.Conn == nil {
		return nil, errors.New("rest: Config.Conn is nil")
	}
	if c.MaxBody == 0 {
		c.MaxBody = 1 << 20
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = 15 * time.Second
	}
	if c.StallTimeout == 0 {
		c.StallTimeout = 30 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	h := &Handler{c: c}
	var errs []error
	for _, s := range c.Services {
		for i := range s.Methods().Len() {
			errs = append(errs, h.add(s.Methods().Get(i)))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("rest: %w", err)
	}
	return h, nil
}

func (h *Handler) add(m protoreflect.MethodDescriptor) error {
	routes, err := newRoutes(m)
	if err != nil {
		return err
	}
	for _, rt := range routes {
		if err := h.router.add(rt); err != nil {
			return err
		}
		h.routes = append(h.routes, Route{Verb: rt.rule.Verb, Path: rt.rule.Path, Procedure: rt.call})
	}
	return nil
}

// Routes returns what is served, in the order of the contracts.
func (h *Handler) Routes() []Route { return append([]Route(nil), h.routes...) }

// ServeHTTP answers a request. It sets r.Pattern to the route, as
// [http.ServeMux] does, for whoever wraps the Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var segments [12]string
	p := path{raw: segments[:0]}
	escaped := r.URL.EscapedPath()
	method := r.Method
	var rt *route
	if p.split(escaped) {
		if rt = h.router.find(method, &p); rt == nil && method == http.MethodHead {
			rt = h.router.find(http.MethodGet, &p)
		}
	}
	if rt == nil {
		h.serveUnmatched(w, r, escaped)
		return
	}
	r.Pattern = rt.pattern
	head := w.Header()
	head.Set("X-Content-Type-Options", "nosniff")
	if rt.ending != nil {
		announce(head, rt.ending)
	}
	if err := h.serve(w, r, rt, &p); err != nil {
		fault.WriteHTTP(w, err)
	}
}

// serveUnmatched answers a request that no route takes.
func (h *Handler) serveUnmatched(w http.ResponseWriter, r *http.Request, escaped string) {
	allowed := h.router.allowed(escaped)
	switch {
	case allowed == nil && h.c.Fallback != nil:
		h.c.Fallback.ServeHTTP(w, r)
	case allowed == nil:
		fault.WriteHTTP(w, fault.New(codes.NotFound, "ROUTE_NOT_FOUND", "nothing is served at this path"))
	case r.Method == http.MethodOptions:
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		w.WriteHeader(http.StatusNoContent)
	default:
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		fault.WriteHTTP(w, fault.New(codes.Unimplemented, fault.ReasonMethodNotAllowed,
			"%s is not served at this path, but %s", clip(r.Method), strings.Join(allowed, ", ")))
	}
}

// serve carries out a call. An error is returned only while nothing has been written.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, rt *route, p *path) error {
	ctx, err := outgoing(r.Context(), r.RemoteAddr, r.Header)
	if err != nil {
		return err
	}
	var cancel context.CancelFunc
	if rt.deadline > 0 {
		ctx, cancel = context.WithTimeout(ctx, rt.deadline)
	} else {
		ctx, cancel = context.WithCancel(ctx)
	}
	defer cancel()
	if rt.clientStream {
		return h.serveUpload(ctx, w, r, rt)
	}
	in := rt.in.New()
	if err := h.bind(w, r, rt, p, in); err != nil {
		return err
	}
	if rt.serverStream {
		return h.serveStream(ctx, w, r, rt, in)
	}
	out := rt.out.New()
	var md struct{ header, trailer metadata.MD }
	err = h.c.Conn.Invoke(ctx, rt.call, in.Interface(), out.Interface(), grpc.Header(&md.header), grpc.Trailer(&md.trailer))
	copyBack(w.Header(), md.header)
	copyMark(w.Header(), degradedHeader, md.trailer)
	if err != nil {
		return err
	}
	return h.write(w, r, rt, out)
}

// bind makes the request message from body, path and query, in this order: what
// the path says holds.
func (h *Handler) bind(w http.ResponseWriter, r *http.Request, rt *route, p *path, in protoreflect.Message) error {
	body, some, err := hasBody(r)
	switch {
	case err != nil:
		return err
	case some && (rt.bodyAll || rt.body != nil):
		if err := checkType(w, r, jsonType); err != nil {
			return err
		}
		if r.ContentLength > h.c.MaxBody {
			return errTooLarge(h.c.MaxBody)
		}
		buf, _ := buffers.Get().(*bytes.Buffer)
		defer putBuffer(buf)
		if err := readBody(w, body, buf, h.c.MaxBody); err != nil {
			return err
		}
		if err := rt.decodeBody(in, buf.Bytes(), h.c.AllowUnknown); err != nil {
			return err
		}
	case some && !h.c.AllowUnknown:
		return fault.Invalid("body", "this method takes none")
	}
	if err := rt.bindPath(in, p); err != nil {
		return err
	}
	return rt.bindQuery(in, r.URL.RawQuery, h.c.AllowUnknown)
}

// write answers with a message.
func (h *Handler) write(w http.ResponseWriter, r *http.Request, rt *route, out protoreflect.Message) error {
	head := w.Header()
	if tag := rt.tagOf(out); tag != "" {
		head.Set("Etag", tag)
	}
	if tag := head.Get("Etag"); tag != "" && (r.Method == http.MethodGet || r.Method == http.MethodHead) &&
		matchesTag(r.Header.Get("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	buf, _ := buffers.Get().(*bytes.Buffer)
	defer putBuffer(buf)
	b, err := rt.encode(buf.AvailableBuffer(), out)
	if err != nil {
		h.c.Log.Error("a response cannot be encoded", "method", rt.call, "error", err)
		return fault.New(codes.Internal, "INTERNAL", "internal error").Wrap(err)
	}
	buf.Write(b)
	head.Set("Content-Type", jsonType)
	head.Set("Content-Length", strconv.Itoa(len(b)))
	// A client that does not read must not keep what it was sent for ever; a
	// writer without deadlines has none to set.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(h.c.StallTimeout))
	_, _ = w.Write(buf.Bytes()) // the client may be gone; nobody is left to tell
	return nil
}

// tagOf returns the ETag that the response's own field etag says.
func (rt *route) tagOf(out protoreflect.Message) string {
	if rt.etag == nil {
		return ""
	}
	tag := out.Get(rt.etag).String()
	switch {
	case tag == "" || strings.HasPrefix(tag, `"`) || strings.HasPrefix(tag, `W/"`):
		return tag
	default:
		return `"` + strings.ReplaceAll(tag, `"`, "") + `"`
	}
}

// matchesTag reports whether an If-None-Match header names the tag.
func matchesTag(header, tag string) bool {
	if header == "" {
		return false
	}
	weak := strings.TrimPrefix(tag, "W/")
	for one := range strings.SplitSeq(header, ",") {
		one = strings.TrimSpace(one)
		if one == "*" || strings.TrimPrefix(one, "W/") == weak {
			return true
		}
	}
	return false
}
