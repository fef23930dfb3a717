package rpc

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	argosyv1 "github.com/argosy-go/argosy/proto/argosy/v1"
)

// defaultDeadline is the longest that a unary call may take when its contract
// does not say.
const defaultDeadline = 10 * time.Second

// Method is what a contract says of a method. It is read once and not changed.
type Method struct {
	// FullName is "/pkg.Service/Method".
	FullName string
	// Access says who may call. Nil: any authenticated caller.
	Access *argosyv1.Access
	// Deadline bounds a whole call, all attempts included. Zero: none, which
	// is how streams are unless their contract says otherwise.
	Deadline time.Duration
	// Idempotency is what the method does with an idempotency key.
	Idempotency argosyv1.Idempotency
	// Retryable: sending the call again is safe, because the method is declared
	// NO_SIDE_EFFECTS or IDEMPOTENT, or because calls carry a key.
	Retryable bool
	// ReadOnly: the method is declared NO_SIDE_EFFECTS.
	ReadOnly bool
	// ClientStream and ServerStream tell which sides stream.
	ClientStream, ServerStream bool
	// Desc is the descriptor.
	Desc protoreflect.MethodDescriptor
}

// Keyed reports whether calls carry an idempotency key.
func (m *Method) Keyed() bool {
	return m.Idempotency == argosyv1.Idempotency_KEYED || m.Idempotency == argosyv1.Idempotency_KEY_REQUIRED
}

// methodOf reads a method's options.
func methodOf(d protoreflect.MethodDescriptor) *Method {
	m := &Method{
		FullName:     fmt.Sprintf("/%s/%s", d.Parent().FullName(), d.Name()),
		ClientStream: d.IsStreamingClient(), ServerStream: d.IsStreamingServer(), Desc: d,
	}
	if !m.ClientStream && !m.ServerStream {
		m.Deadline = defaultDeadline
	}
	o, ok := d.Options().(*descriptorpb.MethodOptions)
	if !ok || o == nil {
		return m
	}
	m.Access, _ = option[*argosyv1.Access](o, argosyv1.E_Access)
	m.Idempotency, _ = option[argosyv1.Idempotency](o, argosyv1.E_Idempotency)
	if proto.HasExtension(o, argosyv1.E_Deadline) {
		if d, ok := proto.GetExtension(o, argosyv1.E_Deadline).(interface{ AsDuration() time.Duration }); ok && d.AsDuration() > 0 {
			m.Deadline = d.AsDuration()
		}
	}
	m.ReadOnly = o.GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS
	m.Retryable = o.GetIdempotencyLevel() != descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN || m.Keyed()
	return m
}

func option[T any](o *descriptorpb.MethodOptions, x protoreflect.ExtensionType) (v T, ok bool) {
	if !proto.HasExtension(o, x) {
		return v, false
	}
	v, ok = proto.GetExtension(o, x).(T)
	return v, ok
}

// Methods returns what the contract says of each of its methods, by full name.
func Methods(contract protoreflect.ServiceDescriptor) map[string]*Method {
	all := make(map[string]*Method, contract.Methods().Len())
	for i := range contract.Methods().Len() {
		m := methodOf(contract.Methods().Get(i))
		all[m.FullName] = m
	}
	return all
}

// Contract returns the contract behind a client constructor that
// protoc-gen-go-grpc wrote, as in Contract(inventorypb.NewInventoryClient).
func Contract[C any](newClient func(grpc.ClientConnInterface) C) (protoreflect.ServiceDescriptor, error) {
	t := reflect.TypeFor[C]()
	name, ok := strings.CutSuffix(t.Name(), "Client")
	if !ok || t.Kind() != reflect.Interface || t.PkgPath() == "" {
		return nil, fmt.Errorf("%s is not a client that protoc-gen-go-grpc wrote: give its constructor, as in inventorypb.NewInventoryClient", t)
	}
	var declared, undeclared []protoreflect.ServiceDescriptor
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			switch path := goPackage(f); {
			case goName(string(s.Name())) != name:
			case path == t.PkgPath():
				declared = append(declared, s)
			case path == "" && sameMethods(t, s): // generated with M options, which leave no trace
				undeclared = append(undeclared, s)
			}
		}
		return true
	})
	if len(declared) == 0 {
		declared = undeclared
	}
	if len(declared) != 1 {
		return nil, fmt.Errorf("%d contracts are linked for the client %s, one is needed: its package must be generated from a .proto file with the go_package %q", len(declared), t, t.PkgPath())
	}
	return declared[0], nil
}

// sameMethods reports whether a client has the methods of a contract.
func sameMethods(client reflect.Type, s protoreflect.ServiceDescriptor) bool {
	for i := range s.Methods().Len() {
		if _, ok := client.MethodByName(goName(string(s.Methods().Get(i).Name()))); !ok {
			return false
		}
	}
	return client.NumMethod() == s.Methods().Len()
}

// goPackage returns the import path that a file's go_package names.
func goPackage(f protoreflect.FileDescriptor) string {
	o, ok := f.Options().(*descriptorpb.FileOptions)
	if !ok {
		return ""
	}
	path, _, _ := strings.Cut(o.GetGoPackage(), ";")
	return path
}

// goName returns the Go spelling of a proto service name: protoc-gen-go turns
// snake_case into CamelCase and leaves the rest.
func goName(name string) string {
	if !strings.Contains(name, "_") {
		return strings.ToUpper(name[:1]) + name[1:]
	}
	var b strings.Builder
	for part := range strings.SplitSeq(name, "_") {
		if part != "" {
			b.WriteString(strings.ToUpper(part[:1]) + part[1:])
		}
	}
	return b.String()
}
