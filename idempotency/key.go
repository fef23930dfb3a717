package idempotency

import (
	"context"
	"crypto/sha256"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/rpc"
)

// MaxKey is the length of the longest key, in bytes.
const MaxKey = 255

// ErrKey: the key is empty, longer than [MaxKey], or holds something else than
// printable ASCII.
var ErrKey = fault.New(codes.InvalidArgument, "IDEMPOTENCY_KEY_INVALID", "an idempotency key is 1 to %d printable ASCII characters", MaxKey).Refused()

// CheckKey returns [ErrKey] for a string that is no key.
func CheckKey(key string) error {
	if key == "" || len(key) > MaxKey {
		return ErrKey
	}
	for i := range len(key) {
		if key[i] < ' ' || key[i] > '~' {
			return ErrKey
		}
	}
	return nil
}

// scope is what a stored reply belongs to.
type scope struct{ caller, method, key string }

func scopeOf(ctx context.Context, req proto.Message, key string) scope {
	method := rpc.MethodName(ctx)
	if method == "" { // called in no RPC, as from a test or a program's own loop
		method = string(req.ProtoReflect().Descriptor().FullName())
	}
	return scope{callerOf(ctx), method, key}
}

// callerOf names the authenticated caller. A service name has no slash, so that
// no subject can pass for a service's.
func callerOf(ctx context.Context) string {
	p, ok := auth.From(ctx)
	if !ok {
		return ""
	}
	return p.Service + "/" + p.Subject
}

// fingerprintOf returns a digest of what the request says.
func fingerprintOf(req proto.Message) ([]byte, error) {
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(req)
	if err != nil {
		return nil, fault.New(codes.InvalidArgument, "INVALID_REQUEST", "the request cannot be encoded").Wrap(err)
	}
	name := req.ProtoReflect().Descriptor().FullName()
	h := sha256.New()
	h.Write([]byte(name))
	h.Write([]byte{0})
	h.Write(body)
	return h.Sum(nil), nil
}
