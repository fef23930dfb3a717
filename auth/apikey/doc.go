// Package apikey keeps the API keys of a fleet in the database of one of its
// services: keys for machines outside, which cannot sign in.
//
//	func setup(s *argosy.Setup) error {
//		k := &keys{db: s.DB(migrations), keys: apikey.Declare(s)}
//		...
//	}
//
//	func (k *keys) CreateKey(ctx context.Context, req *pb.CreateKeyRequest) (*pb.NewKey, error) {
//		caller, _ := auth.From(ctx)
//		var key string
//		err := k.db.Do(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
//			key, _, err = k.keys.Create(ctx, tx, apikey.New{Subject: caller.Subject, Roles: caller.Roles})
//			return err
//		})
//		return &pb.NewKey{Secret: key}, err // shown once
//	}
//
// The program then takes these keys wherever it takes tokens, on REST as
// "Authorization: Bearer ak_…" or "X-Api-Key: ak_…", on gRPC as metadata of
// those names. Other processes of the fleet ask the service for who holds a key
// and remember the answer for half a minute; so a revoked key ends everywhere
// within that time, and while the service is away its keys are UNAVAILABLE.
//
// Do not make keys within idempotency.Do: it would store the key as the reply.
package apikey
