package argosy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/argosy-go/argosy/rest"
	"github.com/argosy-go/argosy/rest/openapi"
	"github.com/argosy-go/argosy/service"
)

// Limits of the HTTP listeners.
const (
	headerTimeout  = 5 * time.Second
	bodyTimeout    = 30 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 64 << 10
)

// serve starts the workers and lets the listeners accept.
func (f *Fleet) serve(context.Context) error {
	edge, err := f.edge()
	if err != nil {
		return err
	}
	f.http = f.httpServer(edge)
	f.http.ReadTimeout = bodyTimeout
	admin, err := f.adminHandler()
	if err != nil {
		return err
	}
	f.admin = f.httpServer(admin)
	f.admin.WriteTimeout = adminWrite
	f.workers = startWorkers(f.services)
	f.serving.Go(func() { f.accept("http", f.http.Serve, f.lines.http) })
	f.serving.Go(func() { f.accept("admin", f.admin.Serve, f.lines.admin) })
	f.serving.Go(func() { f.accept("grpc", f.server.Serve, f.lines.grpc) })
	f.onClose("drain", f.drain)
	return nil
}

func (f *Fleet) httpServer(h http.Handler) *drainable {
	return newDrainable(&http.Server{
		Handler: h, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(f.tel.Logger("http").Handler(), slog.LevelDebug),
	})
}

// accept serves one listener until it is closed.
func (f *Fleet) accept(name string, serve func(net.Listener) error, l net.Listener) {
	if err := serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
		f.fail(fmt.Errorf("%s listener: %w", name, err))
	}
}

// edge returns the handler of the HTTP listener: the routes of the contracts
// first, then what the services mounted.
func (f *Fleet) edge() (http.Handler, error) {
	mux := http.NewServeMux()
	peers, err := parsePeers("peers", f.set.Peers)
	if err != nil {
		return nil, &usageError{err}
	}
	served, err := f.routed(peers)
	if err != nil {
		return nil, err
	}
	conn, err := f.edgeConn(peers)
	if err != nil {
		return nil, err
	}
	if err := f.mountOpenAPI(mux); err != nil {
		return nil, err
	}
	for _, s := range f.services {
		for _, h := range s.Handlers() {
			m := &mounted{
				pattern: h.Pattern, handler: h.Handler, log: s.Log(), tracer: f.tel.TracerOf(s.Name()), maxBody: f.set.MaxBody,
				access: h.Access, who: f.callers, tls: f.tls != nil,
			}
			if err := mount(mux, h.Pattern, m); err != nil {
				return nil, fmt.Errorf("service %s: %w", s.Name(), err)
			}
		}
	}
	if err := f.proxied(mux); err != nil {
		return nil, err
	}
	return rest.New(rest.Config{
		Services: served, Conn: conn, MaxBody: f.set.MaxBody,
		Log: f.tel.Logger("rest"), Fallback: orProblem(mux),
	})
}

// mount adds a handler and turns the mux's panic about a bad or taken pattern
// into an error.
func mount(mux *http.ServeMux, pattern string, h http.Handler) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("handle %q: %v", pattern, p)
		}
	}()
	mux.Handle(pattern, h)
	return nil
}

// routed returns the contracts whose routes the HTTP edge has.
func (f *Fleet) routed(peers map[string]string) ([]protoreflect.ServiceDescriptor, error) {
	var all []protoreflect.ServiceDescriptor
	for _, s := range f.published() {
		if !f.runs(s.Name()) && !f.finds(peers, s.Name()) {
			continue
		}
		own, err := contracts(s)
		if err != nil {
			return nil, err
		}
		all = append(all, own...)
	}
	return all, nil
}

// contracts returns the descriptors of what the service serves.
func contracts(s *service.Setup) ([]protoreflect.ServiceDescriptor, error) {
	var all []protoreflect.ServiceDescriptor
	for _, r := range s.Registrations() {
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(r.Desc.ServiceName))
		if err != nil {
			return nil, fmt.Errorf("service %s: contract %s: %w", s.Name(), r.Desc.ServiceName, err)
		}
		sd, ok := d.(protoreflect.ServiceDescriptor)
		if !ok {
			return nil, fmt.Errorf("service %s: %s is not a contract", s.Name(), r.Desc.ServiceName)
		}
		all = append(all, sd)
	}
	return all, nil
}

// mountOpenAPI serves the documents of the services as one, and a page to read it.
func (f *Fleet) mountOpenAPI(mux *http.ServeMux) error {
	var docs [][]byte
	for _, s := range f.published() {
		docs = append(docs, s.Documents()...)
	}
	if len(docs) == 0 {
		return nil
	}
	doc, err := openapi.Merge(docs...)
	if err != nil {
		return fmt.Errorf("OpenAPI documents: %w", err)
	}
	mux.Handle("GET /openapi.json", openapi.Document(doc))
	mux.Handle("GET /docs", openapi.Docs(f.program.Name))
	return nil
}
