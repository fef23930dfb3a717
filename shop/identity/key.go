package identity

import (
	"context"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/auth/apikey"
	"github.com/argosy-go/argosy/fault"
	identitypb "github.com/argosy-go/argosy/shop/gen/identity/v1"
	"github.com/argosy-go/argosy/store"
)

const (
	usualDays = 90
	maxDays   = 366
	maxKeys   = 100 // of one person, revoked ones included
)

var (
	errKeyByKey = fault.New(codes.PermissionDenied, "SIGN_IN", "an API key makes no API keys: sign in")
	errTooMany  = fault.New(codes.FailedPrecondition, "TOO_MANY_KEYS", "there are %d API keys already", maxKeys)
)

// CreateKey implements identitypb.IdentityServer. It takes no idempotency key:
// the stored reply would hold the secret.
func (i *identity) CreateKey(ctx context.Context, req *identitypb.CreateKeyRequest) (*identitypb.NewKey, error) {
	p, _ := auth.From(ctx)
	if p.Key != "" {
		return nil, errKeyByKey
	}
	if req.Days < 0 || req.Days > maxDays {
		return nil, fault.Invalid("days", "from 1 to %d", maxDays)
	}
	roles := req.Roles
	if len(roles) == 0 {
		roles = p.Roles
	}
	for _, role := range roles {
		if !p.Has(role) {
			return nil, fault.Invalid("roles", "the caller has no role %q", role)
		}
	}
	days := time.Duration(req.Days)
	if days == 0 {
		days = usualDays
	}
	made := apikey.New{Subject: p.Subject, Roles: slices.Compact(slices.Sorted(slices.Values(roles))), Name: req.Name, Expires: i.setup.Now().Add(days * 24 * time.Hour)}
	var secret string
	var key apikey.Key
	err := i.db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		all, err := i.keys.List(ctx, tx, p.Subject)
		if err != nil {
			return err
		}
		if len(all) >= maxKeys {
			return errTooMany
		}
		secret, key, err = i.keys.Create(ctx, tx, made)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &identitypb.NewKey{Key: keyPB(key), Secret: secret}, nil
}

// ListKeys implements identitypb.IdentityServer.
func (i *identity) ListKeys(ctx context.Context, _ *identitypb.ListKeysRequest) (*identitypb.ListKeysResponse, error) {
	p, _ := auth.From(ctx)
	reply := &identitypb.ListKeysResponse{}
	err := i.db.Read(ctx, func(ctx context.Context, q store.Querier) error {
		all, err := i.keys.List(ctx, q, p.Subject)
		for _, k := range all {
			reply.Keys = append(reply.Keys, keyPB(k))
		}
		return err
	})
	return reply, err
}

// RevokeKey implements identitypb.IdentityServer. A key may end itself.
func (i *identity) RevokeKey(ctx context.Context, req *identitypb.RevokeKeyRequest) (*identitypb.Key, error) {
	p, _ := auth.From(ctx)
	var key apikey.Key
	err := i.db.Do(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
		key, err = i.keys.Revoke(ctx, tx, p.Subject, req.Id)
		return err
	})
	if err != nil {
		return nil, err
	}
	return keyPB(key), nil
}

func keyPB(k apikey.Key) *identitypb.Key {
	return &identitypb.Key{
		Id: k.ID, Name: k.Name, Roles: k.Roles,
		CreateTime: timePB(k.Made), ExpireTime: timePB(k.Expires), RevokeTime: timePB(k.Revoked), UseTime: timePB(k.Used),
	}
}

// timePB returns nil for no time.
func timePB(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
