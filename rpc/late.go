package rpc

import (
	"context"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/service"
)

var errNotBound = fault.New(codes.Unavailable, "NOT_STARTED", "the client is not connected: clients work from the start of their service, and not in setup").Refused()

// Late is a connection that is declared in setup and bound when the program
// knows where the contract is served. Until then every call fails, certainly
// not done. Safe for concurrent use.
type Late struct {
	contract protoreflect.ServiceDescriptor
	options  []ClientOption
	conn     atomic.Pointer[grpc.ClientConnInterface]
}

// declared are the connections of a service.
type declared struct{ all []*Late }

// Declare says that the service calls the contract and returns its connection,
// the same one for the same contract. Options that do not fit fail the setup.
func Declare(s *service.Setup, contract protoreflect.ServiceDescriptor, options ...ClientOption) *Late {
	l := declare(s, contract)
	all := append(l.options[:len(l.options):len(l.options)], options...)
	if err := CheckOptions(contract, all); err != nil {
		s.Fail(err)
		return l
	}
	l.options = all
	return l
}

func declare(s *service.Setup, contract protoreflect.ServiceDescriptor) *Late {
	s.Declare(service.Edge{Kind: service.Calls, Name: string(contract.FullName())})
	d := service.Part(s, func() *declared { return &declared{} })
	for _, l := range d.all {
		if l.contract.FullName() == contract.FullName() {
			return l
		}
	}
	l := &Late{contract: contract}
	d.all = append(d.all, l)
	return l
}

// Declared returns the connections that the service declared.
func Declared(s *service.Setup) []*Late {
	if d := service.Find[declared](s); d != nil {
		return d.all
	}
	return nil
}

// Contract returns what is called.
func (l *Late) Contract() protoreflect.ServiceDescriptor { return l.contract }

// Options returns the options that it was declared with.
func (l *Late) Options() []ClientOption { return l.options }

// Bind connects it. A later Bind replaces the connection for new calls.
func (l *Late) Bind(conn grpc.ClientConnInterface) { l.conn.Store(&conn) }

// Invoke implements grpc.ClientConnInterface.
func (l *Late) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	conn := l.conn.Load()
	if conn == nil {
		return errNotBound
	}
	return (*conn).Invoke(ctx, method, args, reply, opts...)
}

// NewStream implements grpc.ClientConnInterface.
func (l *Late) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	conn := l.conn.Load()
	if conn == nil {
		return nil, errNotBound
	}
	return (*conn).NewStream(ctx, desc, method, opts...)
}
