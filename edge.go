package argosy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/fault"
	argosyv1 "github.com/argosy-go/argosy/proto/argosy/v1"
	"github.com/argosy-go/argosy/rpc"
	"github.com/argosy-go/argosy/service"
)

// edgeCaller is who the edge is in the logs of the services that it calls. It
// has no identity of its own: a request keeps the one that it came with.
const edgeCaller = "edge"

// published returns the services whose routes the HTTP edge of this process
// has: its own, and with --edge those that run elsewhere and have a peer.
func (f *Fleet) published() []*service.Setup {
	if !f.set.Edge {
		return f.services
	}
	return f.every
}

// edgeConn returns the connection that carries what the routes ask for: to the
// handlers in this process, and with --edge to the peers of all others.
func (f *Fleet) edgeConn(peers map[string]string) (grpc.ClientConnInterface, error) {
	here := f.server.Conn(rpc.ConnOptions{Wire: f.program.Wire})
	if !f.set.Edge {
		return here, nil
	}
	all := &everywhere{here: here, there: map[string]remote{}}
	if f.tls != nil {
		all.who = f.callers
	}
	for _, s := range f.every {
		if f.runs(s.Name()) || !f.finds(peers, s.Name()) {
			continue
		}
		conn, closer, err := f.dial(peers, s.Name(), rpc.DialOptions{Endpoints: f.look(edgeCaller, s.Name())})
		if err != nil {
			return nil, fmt.Errorf("edge: connect to service %s: %w", s.Name(), err)
		}
		f.peers = append(f.peers, closer.Close)
		contracts, err := contracts(s)
		if err != nil {
			return nil, err
		}
		for _, c := range contracts {
			client := rpc.NewClient(rpc.ClientConfig{From: edgeCaller, Contract: c, Transport: conn, Telemetry: f.tel, Override: f.set.rules.override(string(c.FullName()))})
			f.clients = append(f.clients, client)
			all.there[string(c.FullName())] = remote{
				guarded: client,
				bare:    conn,
				methods: rpc.Methods(c),
			}
		}
	}
	return all, nil
}

// everywhere is a connection to the contracts of the whole program, for
// requests from outside.
type everywhere struct {
	here  grpc.ClientConnInterface
	there map[string]remote  // by contract
	who   auth.Authenticator // tells services from others, where those have certificates; else nil
}

// remote is a contract that is served elsewhere.
type remote struct {
	guarded, bare grpc.ClientConnInterface // with the client chain, and without
	methods       map[string]*rpc.Method
}

// Invoke implements grpc.ClientConnInterface.
func (e *everywhere) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	ctx, conn, err := e.route(ctx, method)
	if err != nil {
		return err
	}
	return conn.Invoke(ctx, method, args, reply, opts...)
}

// NewStream implements grpc.ClientConnInterface.
func (e *everywhere) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	ctx, conn, err := e.route(ctx, method)
	if err != nil {
		return nil, err
	}
	return conn.NewStream(ctx, desc, method, opts...)
}

// route returns the connection for a method. The caller's idempotency key
// becomes that of the client chain, whose attempts share it. Where a key must
// be given and was not, the chain must not make one up, since the caller could
// not repeat the request under it: the service refuses the request itself.
//
// A service of the fleet is refused: what is passed on comes by a connection of
// this process, whose certificate may name that service, and would prove what
// only its token says.
func (e *everywhere) route(ctx context.Context, method string) (context.Context, grpc.ClientConnInterface, error) {
	contract := strings.TrimPrefix(method, "/")
	contract = contract[:max(0, strings.LastIndexByte(contract, '/'))]
	r, ok := e.there[contract]
	if !ok {
		return ctx, e.here, nil
	}
	md, _ := metadata.FromOutgoingContext(ctx) // a copy
	if e.fromService(ctx, md) {
		return nil, nil, errUncertified
	}
	keys := md.Get(rpc.KeyHeader)
	if len(keys) == 1 {
		md.Delete(rpc.KeyHeader)
		return rpc.WithIdempotencyKey(metadata.NewOutgoingContext(ctx, md), keys[0]), r.guarded, nil
	}
	if m := r.methods[method]; len(keys) > 1 || m != nil && m.Idempotency == argosyv1.Idempotency_KEY_REQUIRED {
		return ctx, r.bare, nil
	}
	return ctx, r.guarded, nil
}

// fromService reports whether the token of a request is that of a service. A
// token that cannot be read now is for those to judge who are asked.
func (e *everywhere) fromService(ctx context.Context, md metadata.MD) bool {
	if e.who == nil {
		return false
	}
	token, err := auth.Credential(md.Get("authorization"), nil) // a service has no API key
	if err != nil || token == "" {
		return false
	}
	p, err := e.who.Authenticate(ctx, token)
	return err == nil && p.Service != ""
}

// proxied mounts what services elsewhere handle on the HTTP edge: webhooks,
// pages, engines of others.
func (f *Fleet) proxied(mux *http.ServeMux) error {
	if !f.set.Edge {
		return nil
	}
	peers, err := parsePeers("http-peers", f.set.HTTPPeers)
	if err != nil {
		return &usageError{err}
	}
	for _, s := range f.every {
		if f.runs(s.Name()) || peers[s.Name()] == "" || len(s.Handlers()) == 0 {
			continue
		}
		proxy := newProxy(s.Name(), strings.Split(peers[s.Name()], "|"), s.Log())
		f.peers = append(f.peers, proxy.close)
		for _, h := range s.Handlers() {
			m := &mounted{pattern: h.Pattern, handler: proxy, log: s.Log(), tracer: f.tel.TracerOf(edgeCaller), maxBody: f.set.MaxBody}
			if err := mount(mux, h.Pattern, m); err != nil {
				return fmt.Errorf("service %s: %w", s.Name(), err)
			}
		}
	}
	return nil
}

// proxy passes requests on to the instances of one service.
type proxy struct {
	httputil.ReverseProxy
	transport *http.Transport
}

func newProxy(service string, addresses []string, log *slog.Logger) *proxy {
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute,
	}
	p := &proxy{transport: transport}
	p.Transport = &rotation{next: transport, addresses: addresses}
	p.FlushInterval = -1 // streams
	p.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	p.Rewrite = func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host = "http", service // rotation chooses the address
		r.Out.Host = r.In.Host
		r.SetXForwarded()
	}
	p.ErrorHandler = func(w http.ResponseWriter, r *http.Request, err error) {
		if r.Context().Err() != nil {
			panic(http.ErrAbortHandler) // the client has gone
		}
		if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
			fault.WriteHTTP(w, fault.New(codes.ResourceExhausted, fault.ReasonTooLarge, "the body is larger than is taken here").Wrap(err))
			return
		}
		fault.WriteHTTP(w, fault.New(codes.Unavailable, "SERVICE_AWAY", "service %s cannot be reached", service).Wrap(err))
	}
	return p
}

func (p *proxy) close() error {
	p.transport.CloseIdleConnections()
	return nil
}

// rotation sends each request to the next of the addresses, and on to another
// when nobody listens there: nothing was sent then.
type rotation struct {
	next      http.RoundTripper
	addresses []string
	turn      atomic.Uint64
}

// RoundTrip implements http.RoundTripper.
func (t *rotation) RoundTrip(r *http.Request) (*http.Response, error) {
	first := t.turn.Add(1)
	var err error
	for i := range uint64(len(t.addresses)) {
		attempt := r.Clone(r.Context())
		attempt.URL.Host = t.addresses[(first+i)%uint64(len(t.addresses))]
		if r.Body != nil {
			attempt.Body = io.NopCloser(r.Body) // a failed attempt closes it; the server closes it in the end
		}
		var resp *http.Response
		resp, err = t.next.RoundTrip(attempt)
		if op, ok := errors.AsType[*net.OpError](err); err == nil || !ok || op.Op != "dial" {
			return resp, err
		}
	}
	return nil, err
}
