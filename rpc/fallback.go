package rpc

import (
	"context"
	"fmt"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/guard"
)

// ClientOption is an option of a client: see [Fallback] and [Policies].
type ClientOption interface {
	fallback() *fallback // nil: it is none
	policies() *guard.Config
}

// Policies makes a client's calls guarded by c instead of the defaults, which
// are right for most. With several the last one counts.
//
//	rpc.Policies(guard.Config{Methods: map[string]guard.MethodConfig{
//		"GetPrice": {AttemptTimeout: 200 * time.Millisecond, Hedge: guard.HedgeConfig{On: true}},
//	}})
func Policies(c guard.Config) ClientOption { return policiesOption(c) }

type policiesOption guard.Config

func (policiesOption) fallback() *fallback       { return nil }
func (o policiesOption) policies() *guard.Config { c := guard.Config(o); return &c }

func (*fallbackOption) policies() *guard.Config { return nil }

// fallback is what answers a method when nobody else does.
type fallback struct {
	method  string
	in, out protoreflect.FullName
	answer  func(ctx context.Context, in any, cause error) (proto.Message, error)
	taken   atomic.Uint64 // how often
}

// fallbackOption makes a fallback for each client.
type fallbackOption fallback

func (o *fallbackOption) fallback() *fallback {
	return &fallback{method: o.method, in: o.in, out: o.out, answer: o.answer}
}

// Fallback makes answer the answer to a unary method ("/pkg.Service/Method",
// the constant that protoc-gen-go-grpc writes) when the call has failed after
// all: the other side is in trouble, overloaded, late, or not reached. What it
// answers with its own error stands, and so does a call that was taken back.
//
//	rpc.Fallback(catalogpb.Catalog_GetPrice_FullMethodName,
//		func(ctx context.Context, in *catalogpb.GetPriceRequest, cause error) (*catalogpb.Price, error) {
//			return s.lastPrice(in.Sku)
//		})
//
// The call's deadline may have passed by then, and ctx with it: answer from
// memory. With an error the call fails as if there were no fallback. In
// doubt give none: for a method with effects, the first attempts may have had
// theirs.
//
// The answer is degraded, and marked: the reply carries [DegradedHeader], see
// also [WatchDegraded], and so does the reply of the call that is being served
// with the context. answer may be called by many goroutines at once.
func Fallback[In, Out proto.Message](method string, answer func(ctx context.Context, in In, cause error) (Out, error)) ClientOption {
	var in In
	var out Out
	return &fallbackOption{
		method: method,
		in:     in.ProtoReflect().Descriptor().FullName(), out: out.ProtoReflect().Descriptor().FullName(),
		answer: func(ctx context.Context, args any, cause error) (proto.Message, error) {
			in, ok := args.(In)
			if !ok {
				return nil, errNoMessage
			}
			return answer(ctx, in, cause)
		},
	}
}

// CheckOptions returns why the options do not fit the contract.
func CheckOptions(contract protoreflect.ServiceDescriptor, options []ClientOption) error {
	if len(options) == 0 {
		return nil
	}
	methods, seen := Methods(contract), map[string]bool{}
	for _, o := range options {
		if c := o.policies(); c != nil {
			for name := range c.Methods {
				if contract.Methods().ByName(protoreflect.Name(name)) == nil {
					return fmt.Errorf("policies: %s has no method %s", contract.FullName(), name)
				}
			}
			continue
		}
		f := o.fallback()
		m, ok := methods[f.method]
		switch {
		case !ok:
			return fmt.Errorf("fallback: %s has no method %s", contract.FullName(), f.method)
		case m.ClientStream || m.ServerStream:
			return fmt.Errorf("fallback: %s is a stream, and half of an answer cannot be replaced", f.method)
		case f.in != m.Desc.Input().FullName() || f.out != m.Desc.Output().FullName():
			return fmt.Errorf("fallback: %s takes %s and returns %s, the fallback %s and %s", f.method, m.Desc.Input().FullName(), m.Desc.Output().FullName(), f.in, f.out)
		case seen[f.method]:
			return fmt.Errorf("fallback: %s has two", f.method)
		}
		seen[f.method] = true
	}
	return nil
}

// helps reports whether a fallback may stand in for what failed with the error.
func helps(ctx context.Context, err error) bool {
	switch fault.From(err).Code {
	case codes.Unavailable, codes.ResourceExhausted, codes.Internal, codes.Unknown, codes.DataLoss, codes.DeadlineExceeded:
		return ctx.Err() != context.Canceled
	}
	return false
}

// instead answers in place of a call that failed, or returns why it did.
func (f *fallback) instead(ctx context.Context, args, reply any, opts []grpc.CallOption, cause error) error {
	out, ok := reply.(proto.Message)
	if !ok || !helps(ctx, cause) {
		return cause
	}
	answer, err := f.answer(ctx, args, cause)
	if err != nil || !answer.ProtoReflect().IsValid() {
		return cause
	}
	proto.Reset(out)
	proto.Merge(out, answer)
	f.taken.Add(1)
	mark(f.method, opts)
	return nil
}
