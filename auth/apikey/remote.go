package apikey

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/auth/apikey/internal/apikeypb"
)

// Contract is how a process that keeps no keys asks for who holds one.
func Contract() protoreflect.ServiceDescriptor {
	return apikeypb.File_auth_apikey_internal_apikeypb_apikey_proto.Services().ByName("ApiKeys")
}

// server answers the other processes of the fleet.
type server struct {
	apikeypb.UnimplementedApiKeysServer
	keys *Keys
}

// Check implements apikeypb.ApiKeysServer.
func (s *server) Check(ctx context.Context, req *apikeypb.CheckRequest) (*apikeypb.Holder, error) {
	var hash auth.APIKeyHash
	if len(req.Hash) != len(hash) {
		return nil, auth.ErrAPIKey
	}
	holder, err := s.keys.CheckAPIKey(ctx, req.Id, auth.APIKeyHash(req.Hash))
	if err != nil {
		return nil, err
	}
	reply := &apikeypb.Holder{Subject: holder.Subject, Roles: holder.Roles}
	if !holder.Expires.IsZero() {
		reply.ExpireTime = timestamppb.New(holder.Expires)
	}
	return reply, nil
}

// Remote are the keys that a service elsewhere keeps, asked over conn. It is
// safe for concurrent use.
func Remote(conn grpc.ClientConnInterface) auth.APIKeyKeeper {
	return remote{apikeypb.NewApiKeysClient(conn)}
}

type remote struct{ client apikeypb.ApiKeysClient }

// CheckAPIKey implements [auth.APIKeyKeeper].
func (r remote) CheckAPIKey(ctx context.Context, id string, hash auth.APIKeyHash) (auth.APIKeyHolder, error) {
	reply, err := r.client.Check(ctx, &apikeypb.CheckRequest{Id: id, Hash: hash[:]})
	if err != nil {
		return auth.APIKeyHolder{}, err
	}
	var expires time.Time
	if reply.ExpireTime != nil {
		expires = reply.ExpireTime.AsTime()
	}
	return auth.APIKeyHolder{Subject: reply.Subject, Roles: reply.Roles, Expires: expires}, nil
}
